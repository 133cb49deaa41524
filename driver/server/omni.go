package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// vllmOmni is vLLM-Omni 0.30, whose routes and profilers were tried (docs/servers.md). Each of its stages is a rank
// of its own, and is started by a call of its own.
type vllmOmni struct{ plainEngine }

var _ = register(protocol.EngineVLLMOmni, vllmOmni{})

func (vllmOmni) layout() layout {
	return layout{deep: true, packs: true, localRank: true, stages: true}
}

// errNoStageProfiler reports a vLLM-Omni without a profiler on any stage. It answers 404 without a
// reason, and ignores VLLM_TORCH_PROFILER_DIR.
var errNoStageProfiler = errors.New(
	"it has no /start_profile: give at least one stage a profiler_config, by the stage's " +
		`engine_args or --stage-overrides: {"profiler":"torch","torch_profiler_dir":"/DIR"}`)

func (vllmOmni) probe(ctx context.Context, c *client, _ Target) (Facts, error) {
	v, err := version(ctx, c)
	f := Facts{Version: v}.paths()
	if err != nil {
		return f, err
	}
	api, known, err := profiling(ctx, c, f.Start, errNoStageProfiler)
	if err == nil {
		err = told(v, known)
	}
	if err != nil || !known {
		return f, err
	}
	if fields := api.accepts(f.Start, "StartProfileRequest"); fields != nil && !fields["stages"] {
		return f,
			errors.New(
				"its /start_profile is vLLM's own, which knows no stages: give the stages their profiler_config, " +
					"not the server")
	}
	return f, nil
}

func (vllmOmni) start(r round) start { return start{body: map[string]any{"stages": []int{r.to.Part}}} }

func (vllmOmni) stop(r round) map[string]any { return map[string]any{"stages": []int{r.to.Part}} }

// began checks the answer, which has a status of 200 also if stages failed: an element for each
// stage and replica, or {"status":"SUCCESS"} in newer releases.
func (vllmOmni) began(a answer) error {
	if len(strings.TrimSpace(string(a.body))) == 0 {
		return errors.New("the answer is empty, as vLLM's own /start_profile gives it, which knows no stages: " +
			"give the stages their profiler_config, not the server")
	}
	var one struct{ Status string }
	if a.decode(&one) == nil && one.Status != "" {
		if !strings.EqualFold(one.Status, "success") {
			return fmt.Errorf("it says %v", a)
		}
		return nil
	}
	var list []any
	if err := a.decode(&list); err != nil {
		return fmt.Errorf("its answer is neither a list of stages nor a status: %v", a)
	}
	if len(list) == 0 {
		return errors.New("the answer has no element: there is no such stage")
	}
	for _, e := range list {
		if m, ok := e.(map[string]any); ok && m["supported"] == false {
			return fmt.Errorf("the stage cannot: %v", m["error"])
		}
	}
	return nil
}

func (vllmOmni) refused(a answer) error {
	if a.status == http.StatusNotFound {
		return errNoStageProfiler
	}
	return fmt.Errorf("POST /start_profile: %v", a)
}

func (vllmOmni) lacks(cfg protocol.ProfilerConfig) string {
	return vllm{}.lacks(cfg)
}

func (vllmOmni) dir(lines func() []string) (string, error) { return vllm{}.dir(lines) }
func (vllmOmni) cost(lines func() []string) *Check         { return vllm{}.cost(lines) }

func (vllmOmni) nothing(driver.Job) string {
	return "a stage without a profiler_config, and a diffusion stage whose profiler fails, answer as if all were well; " +
		"the server's log says more"
}

// omniDir matches the directory of one start of a vLLM-Omni stage: of one rank of an LLM stage, or
// of all ranks of a diffusion stage.
var omniDir = regexp.MustCompile(`(?:^|_)stage_?(\d+)_`)

// stageOf returns the stage of a vLLM-Omni that wrote a file; 0 if its directory names none, as on
// a server with one diffusion stage. It returns false if the path is in no session's directory.
func stageOf(path string) (int, bool) {
	dir, _, ok := strings.Cut(filepath.ToSlash(path), "/")
	if !ok {
		return 0, false
	}
	if m := omniDir.FindStringSubmatch(dir); m != nil {
		n, err := strconv.Atoi(m[1])
		return n, err == nil
	}
	return 0, strings.Contains(dir, "diffusion")
}

// sglangOmni is sglang-omni 0.1.9, whose routes and profiler were tried. One start begins all its
// stages.
type sglangOmni struct{ plainEngine }

var _ = register(protocol.EngineSGLangOmni, sglangOmni{})

// errNoHTTPProfiler reports a release without profiling routes.
var errNoHTTPProfiler = errors.New("it has no /start_profile: this release of sglang-omni cannot be profiled over HTTP")

func (sglangOmni) layout() layout {
	return layout{packs: true, localRank: true, stages: true, together: true}
}

func (sglangOmni) probe(ctx context.Context, c *client, _ Target) (Facts, error) {
	f := Facts{}.paths()
	if a, err := c.get(ctx, "/health", nil); err != nil {
		return f, err
	} else if !a.ok() {
		return f, fmt.Errorf("GET /health: %v", a)
	}
	api, known, err := profiling(ctx, c, f.Start, errNoHTTPProfiler)
	if err == nil {
		err = told("", known)
	}
	if err == nil {
		f.Fields = api.accepts(f.Start, "StartReq", "StartProfile", "ProfileStart")
	}
	return f, err
}

// start sets a template for the files' names, because the server's own leaves out the stage.
func (sglangOmni) start(r round) start {
	s := start{own: ownDir(r)}
	s.body = map[string]any{"run_id": r.tag, "trace_path_template": filepath.Join(s.own, "{stage}"), "event_dir": s.own,
		"enable_torch": true}
	return s
}

// began checks that the answer names the run, as every release's does.
func (sglangOmni) began(a answer) error {
	var said struct {
		Run string `json:"run_id"`
	}
	if a.decode(&said) != nil || said.Run == "" {
		return fmt.Errorf("its answer names no run: %v", a)
	}
	return nil
}

// stop names the run: releases before May 2026 take a stop without a run id for that of another run.
func (sglangOmni) stop(r round) map[string]any { return map[string]any{"run_id": r.tag} }

func (sglangOmni) refused(a answer) error {
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("it asks for its admin key: give it with token_file (%v)", a)
	case http.StatusConflict:
		return fmt.Errorf("its profiler is on already: POST /stop_profile ends that (%v)", a)
	}
	return fmt.Errorf("POST /start_profile: %v", a)
}

func (sglangOmni) lacks(cfg protocol.ProfilerConfig) string {
	if cfg.WithStack || cfg.RecordShapes || cfg.WithMemory || cfg.WithFLOPs {
		return "what sglang-omni records is as SGLANG_TORCH_PROFILER_WITH_STACK and the like say in its environment"
	}
	return ""
}

func (sglangOmni) nothing(driver.Job) string {
	return "sglang-omni answers before anything starts, and a run that is under way already keeps a second one out"
}
