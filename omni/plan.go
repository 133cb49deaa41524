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
	"github.com/kinetoscope/kinetoscope/omni/model"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Plan is a pipeline that has been read and checked but not started: its deployment is valid, its
// models can be opened, and its interpreters have the modules they need. It can be opened once.
type Plan struct {
	// Config is what the plan was made of. Its hooks, limits and directories may be set
	// until Open; what says which pipeline it is has been read.
	Config Config
	// Pipeline is the deployment, overrides applied. Until Open its profiler_configs may
	// be changed, and nothing else.
	Pipeline *deploy.Pipeline

	warnings []string
	known    facts
	command  []string
}

// Plan reads and checks what Open would start, and starts nothing. Models are inspected
// without their weights and interpreters asked for their packages, which takes up to
// seconds; ctx bounds it.
func (c Config) Plan(ctx context.Context) (*Plan, error) {
	c.setDefaults()
	p := &Plan{Config: c}
	var err error
	if p.Pipeline, p.warnings, err = c.deployment(); err != nil {
		return nil, err
	}
	if p.command, err = c.command(); err != nil {
		return nil, err
	}
	if p.known, err = c.inspect(ctx, p.Pipeline); err != nil {
		return nil, err
	}
	return p, nil
}

// CheckRequests says what is wrong with the first bad one of rs, as far as it can be
// known before the pipeline is open. The error is an *Error and says which request,
// counting from 1.
func (p *Plan) CheckRequests(rs []Request) error {
	var tok *model.Tokenizer
	limit := 0
	if len(p.Pipeline.Stages) > 0 {
		s := &p.Pipeline.Stages[0]
		if known := p.known[0]; s.Type == protocol.StageLLM && known.VocabSize > 0 {
			var err error
			if tok, err = model.NewTokenizer(known.VocabSize); err != nil {
				return fmt.Errorf("stage 0 (%s): %w", s.Name, err)
			}
			limit = min(s.MaxModelLen, known.MaxPositions)
		}
	}
	for i := range rs {
		w, err := rs[i].build(p.Pipeline, p.known, "")
		if err == nil && tok != nil {
			if n := len(tok.Encode(w.Prompt)); n >= limit {
				err = badParam("prompt",
					"prompt of %d tokens is too long: the model takes %d with the answer; shorten it", n, limit)
			}
		}
		if e := (*Error)(nil); errors.As(err, &e) {
			return &Error{Code: e.Code, Param: e.Param, Err: fmt.Errorf("prompt %d: %w", i+1, e.Err)}
		}
	}
	return nil
}

// facts are what is known about the stages' models before they are loaded, by stage_id. Models on
// other hosts are not known.
type facts map[int]model.Facts

// inspect looks at the models of the native stages and the interpreters of the torch
// stages. What is wrong with one that this process would start is an error.
func (c *Config) inspect(ctx context.Context, p *deploy.Pipeline) (facts, error) {
	known, asked := facts{}, map[string]error{}
	var errs []error
	for i := range p.Stages {
		s := &p.Stages[i]
		ours := !c.NoLaunch && !s.External
		at := func(field string, err error) {
			errs = append(errs, &deploy.FieldError{Stage: s.ID, Name: s.Name, Field: field, Err: err})
		}
		switch {
		case s.Torch() && ours:
			if err := checkPython(ctx, s, asked); err != nil {
				at("python", err)
			}
		case s.Engine == protocol.EngineNative:
			f, err := model.Inspect(s.Architecture, model.Options{Model: s.Model, LoadFormat: s.LoadFormat}, s.Ranks)
			switch {
			case err == nil:
				known[s.ID] = f
			case ours && errors.Is(err, model.ErrArchitecture):
				at("model_arch", err)
			case ours:
				at("model", err)
			}
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

// checkPython says what the interpreter of a torch stage lacks. An interpreter that
// several stages run in alike is asked once; asked holds the answers.
func checkPython(ctx context.Context, s *deploy.Stage, asked map[string]error) error {
	modules := []string{"kinetoscope", "nats", "torch"}
	switch s.Type {
	case protocol.StageLLM:
		modules = append(modules, "transformers")
	case protocol.StageDiffusion:
		modules = append(modules, "diffusers", "transformers")
	}
	key := fmt.Sprintf("%q %q %q", interpreter(s), modules, s.Env)
	err, ok := asked[key]
	if !ok {
		err = askPython(ctx, s, modules)
		asked[key] = err
	}
	return err
}

func askPython(ctx context.Context, s *deploy.Stage, modules []string) error {
	ctx, cancel := context.WithTimeout(ctx, pythonTimeout)
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
