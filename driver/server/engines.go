package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Facts are what a server says of itself before anything is started.
type Facts struct {
	Version string
	Ranks   int  // 0 if it does not say
	TP, PP  int  // its tensor and pipeline parallel sizes, where its files are named by them
	Prefix  bool // a start takes a profile_prefix: new files can be told by name
	Steps   bool // a start takes a number of steps
	Delay   bool // and a number of steps before them
}

// engine is what differs between servers. Its methods are called with nothing locked.
type engine interface {
	// probe asks what the server is; the error says what is missing and how to mend it.
	probe(ctx context.Context, c *client) (Facts, error)
	// body is what a start sends, nil for none, and dir the directory that it makes the
	// server write to, "" for the server's own. tag is the session's name on this server.
	body(f Facts, j driver.Job, tag, under string) (body map[string]any, dir string)
	// refused explains the answer to a start that the server did not take.
	refused(a answer) error
	// lacks is what of a session's config the server cannot be told, "" if nothing.
	lacks(cfg protocol.ProfilerConfig) string
	// nothing explains why a server may have written nothing, by what is known of it.
	nothing(j driver.Job) string
}

var engines = map[protocol.Engine]engine{protocol.EngineVLLM: vllm{}, protocol.EngineSGLang: sglang{}}

// vllm is vLLM 0.2x to 0.32, as tried (docs/servers.md).
type vllm struct{}

func (vllm) probe(ctx context.Context, c *client) (Facts, error) {
	var v struct{ Version string }
	if a, err := c.get(ctx, "/version", &v); err != nil {
		return Facts{}, err
	} else if !a.ok() && a.status != http.StatusNotFound {
		return Facts{}, fmt.Errorf("GET /version: %v", a)
	}
	var api struct {
		Paths      map[string]any
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	a, err := c.get(ctx, "/openapi.json", &api)
	if err != nil {
		return Facts{}, err
	}
	f := Facts{Version: v.Version}
	if a.ok() && len(api.Paths) > 0 {
		if api.Paths["/start_profile"] == nil {
			return f, errors.New("it has no /start_profile: start it with --profiler-config " +
				`'{"profiler":"torch","torch_profiler_dir":"/DIR"}'`)
		}
		p := api.Components.Schemas["StartProfileRequest"].Properties
		f.Prefix, f.Steps, f.Delay = p["profile_prefix"] != nil, p["max_iterations"] != nil, p["delay_iterations"] != nil
	}
	return f, nil
}

func (vllm) body(f Facts, j driver.Job, tag, _ string) (map[string]any, string) {
	body := map[string]any{}
	if f.Prefix {
		body["profile_prefix"] = tag
	}
	if n := j.Config.MaxIterations; n > 0 {
		body["max_iterations"] = n
	}
	if n := j.Config.DelayIterations; n > 0 {
		body["delay_iterations"] = n
	}
	if len(body) == 0 {
		return nil, ""
	}
	return body, ""
}

func (vllm) refused(a answer) error {
	switch a.status {
	case http.StatusConflict:
		return fmt.Errorf("its profiler is on already, for somebody else or since a session that was never stopped: "+
			"POST /stop_profile ends that (%v)", a)
	case http.StatusNotFound:
		return errors.New("it has no /start_profile: start it with --profiler-config " +
			`'{"profiler":"torch","torch_profiler_dir":"/DIR"}'`)
	}
	return fmt.Errorf("POST /start_profile: %v", a)
}

func (vllm) lacks(cfg protocol.ProfilerConfig) string {
	if cfg.WithStack || cfg.RecordShapes || cfg.WithMemory || cfg.WithFLOPs || len(cfg.Activities) > 0 {
		return "what a vLLM records (stacks, shapes, memory) is as its --profiler-config says, not as the session asks"
	}
	return ""
}

func (vllm) nothing(j driver.Job) string {
	if j.Config.DelayIterations > 0 {
		return "a window that no step reached, for delay_iterations were too many, leaves no file"
	}
	return "a worker whose profiler fails says so in the server's log only; is dir its torch_profiler_dir?"
}

// sglang is SGLang 0.5, as tried (docs/servers.md).
type sglang struct{}

func (sglang) probe(ctx context.Context, c *client) (Facts, error) {
	var info struct {
		Version string
		TPSize  int `json:"tp_size"`
		PPSize  int `json:"pp_size"`
		DPSize  int `json:"dp_size"`
	}
	a, err := c.get(ctx, "/get_server_info", &info)
	if err == nil && a.status == http.StatusNotFound { // newer ones have another name for it
		a, err = c.get(ctx, "/server_info", &info)
	}
	if err != nil {
		return Facts{}, err
	}
	if !a.ok() {
		return Facts{}, fmt.Errorf("GET /get_server_info: %v", a)
	}
	f := Facts{Version: info.Version, Steps: true}
	f.TP, f.PP = info.TPSize, info.PPSize
	if info.TPSize > 0 {
		f.Ranks = info.TPSize * max(info.PPSize, 1)
		if f.Ranks *= max(info.DPSize, 1); f.Ranks > maxRanks {
			f.Ranks = 0
		}
	}
	return f, nil
}

// sglangActivities are SGLang's names of what torch records, by its name in a config.
var sglangActivities = map[string]string{"CPU": "CPU", "CUDA": "GPU", "GPU": "GPU", "ROCM": "GPU", "HIP": "GPU", "XPU": "XPU"}

// body never asks for MEM: without a CUDA device it ends the server. start_step counts from
// the server's start, so that no number of steps can be skipped with it.
func (sglang) body(_ Facts, j driver.Job, tag, under string) (map[string]any, string) {
	dir := filepath.Join(under, "kinetoscope-"+tag)
	cfg := j.Config
	body := map[string]any{"output_dir": dir, "with_stack": cfg.WithStack, "record_shapes": cfg.RecordShapes}
	if n := cfg.MaxIterations; n > 0 {
		body["num_steps"] = n
	}
	var kinds []string
	for _, a := range cfg.Activities {
		kind := sglangActivities[strings.ToUpper(a)]
		if kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	if kinds != nil {
		body["activities"] = kinds
	}
	return body, dir
}

func (sglang) refused(a answer) error {
	if a.status == http.StatusInternalServerError {
		return fmt.Errorf("it says 500, as it does while a profiler is on already; its log has the reason (%v)", a)
	}
	return fmt.Errorf("POST /start_profile: %v", a)
}

func (sglang) lacks(cfg protocol.ProfilerConfig) string {
	if cfg.WithMemory {
		return "memory is not recorded: SGLang has it as an activity that ends a server without a CUDA device"
	}
	return ""
}

func (sglang) nothing(driver.Job) string {
	return "SGLang takes a second start for the first one's and says 200: another session may be under way"
}
