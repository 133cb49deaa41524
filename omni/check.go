package omni

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/engine"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// facts are what is known of the stages' models before they are loaded, by stage_id. A
// model that lies on another host is not known.
type facts map[int]engine.Facts

// inspect looks at the models of the native stages. What is wrong with one that this
// process would start is an error.
func (c *Config) inspect(p *deploy.Pipeline) (facts, error) {
	known := facts{}
	var errs []error
	for i := range p.Stages {
		s := &p.Stages[i]
		if s.Torch() && !c.NoLaunch && !s.External {
			if err := checkPython(s); err != nil {
				errs = append(errs, &deploy.FieldError{Stage: s.ID, Name: s.Name, Field: "python", Err: err})
			}
		}
		if s.Engine != protocol.EngineNative {
			continue
		}
		f, err := engine.Inspect(s.Architecture, engine.Options{Model: s.Model, LoadFormat: s.LoadFormat}, s.Ranks)
		switch {
		case err == nil:
			known[s.ID] = f
		case !c.NoLaunch && !s.External:
			field := "model"
			if errors.Is(err, engine.ErrArchitecture) {
				field = "model_arch"
			}
			errs = append(errs, &deploy.FieldError{Stage: s.ID, Name: s.Name, Field: field, Err: err})
		}
	}
	if err := errors.Join(errs...); err != nil {
		if c.Deployment != nil {
			return nil, err
		}
		return nil, deploy.Locate(c.Pipeline, err)
	}
	return known, nil
}

// pythonTimeout bounds an interpreter's answer to which modules it has: it imports none.
const pythonTimeout = 30 * time.Second

// missingModules prints which of its arguments are no modules that can be imported.
const missingModules = "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])"

// checkPython says what the interpreter of a torch stage lacks.
func checkPython(s *deploy.Stage) error {
	modules := []string{"kinetoscope", "nats", "torch"}
	switch s.Type {
	case protocol.StageLLM:
		modules = append(modules, "transformers")
	case protocol.StageDiffusion:
		modules = append(modules, "diffusers", "transformers")
	}
	ctx, cancel := context.WithTimeout(context.Background(), pythonTimeout)
	defer cancel()
	python := interpreter(s)
	cmd := exec.CommandContext(ctx, python, append([]string{"-c", missingModules}, modules...)...)
	cmd.Env = stageEnv(s)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	const other = "name another interpreter here or in " + pythonEnv
	if err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if last := lines[len(lines)-1]; last != "" {
			err = fmt.Errorf("%w: %s", err, last)
		}
		return fmt.Errorf("%s: %w; %s", python, err, other)
	}
	if missing := strings.Fields(string(out)); len(missing) > 0 {
		return fmt.Errorf("%s has no module %s: install the Python package kinetoscope and its extras there, or %s",
			python, strings.Join(missing, ", "), other)
	}
	return nil
}

// CheckRequests says what is wrong with the first bad one of rs, as far as it can be
// known before the pipeline p of c, which Check returned, is started. The error is
// an *Error and says which request, counting from 1.
func (c *Config) CheckRequests(p *deploy.Pipeline, rs []Request) error {
	known, err := c.inspect(p)
	if err != nil {
		return err
	}
	var tok *engine.Tokenizer
	limit := 0
	if s := &p.Stages[0]; s.Type == protocol.StageLLM && known[0].VocabSize > 0 {
		if tok, err = engine.NewTokenizer(known[0].VocabSize); err != nil {
			return fmt.Errorf("stage 0 (%s): %w", s.Name, err)
		}
		limit = min(s.MaxModelLen, known[0].MaxPositions)
	}
	for i := range rs {
		w, err := rs[i].build(p, known, "")
		if err == nil && tok != nil {
			if n := len(tok.Encode(w.Prompt)); n >= limit {
				err = badParam("prompt", "prompt of %d tokens is too long: the model takes %d with the answer; shorten it", n, limit)
			}
		}
		if e := (*Error)(nil); errors.As(err, &e) {
			return &Error{Code: e.Code, Param: e.Param, Err: fmt.Errorf("prompt %d: %w", i+1, e.Err)}
		}
	}
	return nil
}
