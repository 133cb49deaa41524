package flags

import (
	"cmp"
	"fmt"
	"os"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
)

// Profiler configures the profiler from the command line.
type Profiler struct {
	ProfilerConfig string `help:"profiler_config as JSON, for every stage; --profiler-config.FIELD=VALUE sets one field." placeholder:"JSON"`
	ProfilerDir    string `help:"Deprecated: use --profiler-config.torch_profiler_dir." hidden:""`

	Dotted map[string]string `kong:"-"` // the fields set one by one, as cli.SplitArgs found them
}

// Override reads the flags and the environment, and warns of old spellings.
func (f *Profiler) Override(e *cli.Env) (*deploy.ProfilerOverride, error) {
	old := map[string]string{}
	if dir := os.Getenv("VLLM_TORCH_PROFILER_DIR"); dir != "" {
		fmt.Fprintln(e.Err,
			"warning: VLLM_TORCH_PROFILER_DIR is deprecated: use --profiler-config.torch_profiler_dir=DIR")
		old["torch_profiler_dir"] = dir
	}
	if f.ProfilerDir != "" {
		fmt.Fprintln(e.Err, "warning: --profiler-dir is deprecated: use --profiler-config.torch_profiler_dir=DIR")
		old["torch_profiler_dir"] = f.ProfilerDir
	}
	return ParseOverride(f.ProfilerConfig, old, f.Dotted)
}

// ParseOverride reads --profiler-config and dotted flags, later ones over earlier ones.
func ParseOverride(text string, dotted ...map[string]string) (*deploy.ProfilerOverride, error) {
	o, err := deploy.ParseProfilerJSON(cmp.Or(text, "{}"))
	if err != nil {
		return nil, cli.Usage("--profiler-config: %w", err)
	}
	for _, fields := range dotted {
		if err := o.SetDotted(fields); err != nil {
			return nil, cli.UsageError{Err: err}
		}
	}
	return o, nil
}
