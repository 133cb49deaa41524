package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// pythonEnv names the interpreter that torch ranks run in.
const pythonEnv = "KINETOSCOPE_PYTHON"

// torchYAML is the omni example on torch with as few ranks as have a replica of two: %s is
// the example's directory.
const torchYAML = `
name: torch-omni
model: torch-omni
profiler_config: {profiler: torch}
stage_args:
  - stage_id: 0
    stage_name: thinker
    stage_type: llm
    engine_args: {engine: torch, model: "%[1]s/thinker", tensor_parallel_size: 2, load_format: dummy, seed: 1}
    final_output: true
    final_output_type: text
  - stage_id: 1
    stage_name: talker
    stage_type: llm
    engine_input_source: [0]
    engine_args: {engine: torch, model: "%[1]s/talker", load_format: dummy, seed: 2}
    default_sampling_params: {frames_per_token: 2}
  - stage_id: 2
    stage_name: code2wav
    stage_type: generation
    engine_input_source: [1]
    engine_args: {engine: torch, model: "%[1]s/vocoder.py:Vocoder", load_format: dummy, seed: 3}
    final_output: true
    final_output_type: audio
`

// torchSlow is how many times longer torch ranks take to be ready: each imports torch, one
// after the other where cores are few.
const torchSlow = 3

// torch makes p a pipeline of torch ranks.
func (p *product) torch(dir, example string) error {
	if os.Getenv(pythonEnv) == "" {
		return errors.New("torch ranks need " + pythonEnv + ": run make interop-venv")
	}
	example, err := filepath.Abs(example)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(example, "vocoder.py")); err != nil {
		return err
	}
	if strings.Contains(example, `"`) {
		return fmt.Errorf("the path %s cannot be written in a deployment", example)
	}
	p.deploy, p.model, p.slow = filepath.Join(dir, "torch.yaml"), "torch-omni", torchSlow
	return os.WriteFile(p.deploy, fmt.Appendf(nil, torchYAML, filepath.ToSlash(example)), 0o600)
}
