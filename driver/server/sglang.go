package server

import (
	"bytes"
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

// sglang is SGLang 0.5, as tried (docs/servers.md).
type sglang struct{ plainEngine }

var _ = register(protocol.EngineSGLang, sglang{})

func (sglang) port() string { return "30000" }

func (sglang) manners() manners { return manners{getStarts: true} }

func (sglang) runs(args []string) bool {
	return slices.ContainsFunc(args, func(a string) bool {
		return a == "sglang.launch_server" || strings.HasSuffix(a, "/sglang/launch_server.py")
	})
}

func (sglang) probe(ctx context.Context, c *client, _ Target) (Facts, error) {
	var info struct {
		Version string
		TPSize  int `json:"tp_size"`
		PPSize  int `json:"pp_size"`
		DPSize  int `json:"dp_size"`
		// Groups: attention is shared out among groups of the ranks, which names of files call DP. Releases
		// before 0.5.23 count them in dp_size too.
		Groups bool `json:"enable_dp_attention"`
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
	if info.Version == "" && info.TPSize == 0 {
		return Facts{}, unknown("/get_server_info", a) // every SGLang says both
	}
	f := Facts{Version: info.Version, Steps: true}.paths()
	f.TP, f.PP, f.Groups = info.TPSize, info.PPSize, info.Groups
	if info.TPSize > 0 {
		f.Ranks = info.TPSize * max(info.PPSize, 1)
		if n := info.DPSize; !info.Groups && n > 1 && n <= maxRanks { // there are none inside replicas
			f.Ranks *= n
			f.Replicas = firstN(n)
		}
		if f.Ranks > maxRanks {
			f.Ranks, f.Replicas = 0, nil
		}
	}
	if api, known, err := routes(ctx, c); err == nil && known {
		f.Fields = api.accepts(f.Start, "ProfileReq", "ProfileReqInput")
	}
	return f, nil
}

// sglangActivities are SGLang's names for torch's activities, by their name in a config. MEM is not
// among them: without a CUDA device it makes the server crash.
var sglangActivities = map[string]string{"CPU": "CPU", "CUDA": "GPU", "GPU": "GPU", "ROCM": "GPU", "HIP": "GPU",
	"XPU": "XPU"}

// labelFields are the fields that ask for step labels with the data for a roofline. A release has
// one of them or neither.
var labelFields = []string{"detailed_annotations", "roofline_annotations"}

// start leaves out start_step. It counts from the server's start, so it cannot skip a number of
// steps.
func (sglang) start(r round) start {
	cfg := r.job.Config
	s := start{own: ownDir(r)}
	s.body = map[string]any{"output_dir": s.own, "with_stack": cfg.WithStack, "record_shapes": cfg.RecordShapes}
	if n := cfg.MaxIterations; n > 0 {
		s.body["num_steps"] = n
	}
	if kinds := activities(cfg, sglangActivities); kinds != nil {
		s.body["activities"] = kinds
	}
	for _, name := range labelFields {
		if r.facts.Fields[name] {
			s.body[name] = true
		}
	}
	return s
}

// ownDir returns a directory for the session alone, below the target's.
func ownDir(r round) string { return filepath.Join(r.to.Dir, "kinetoscope-"+r.tag) }

func (sglang) refused(a answer) error {
	switch a.status {
	case http.StatusInternalServerError:
		return fmt.Errorf("it says 500, as it does while a profiler is on already; its log has the reason (%v)", a)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("it asks for its admin key: give it with token_file (%v)", a)
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

// sglangDiffusion is SGLang's diffusion server, sglang.multimodal_gen, written from sources of its
// repository and not tried: release 0.5.23 has no profile routes, which the probe says.
type sglangDiffusion struct{ sglang }

var _ = register(protocol.EngineSGLangDiffusion, sglangDiffusion{})

func (sglangDiffusion) layout() layout { return layout{} }

func (sglangDiffusion) manners() manners {
	return manners{getStarts: true, stage: protocol.StageDiffusion}
}

func (sglangDiffusion) runs([]string) bool { return false } // its command line is SGLang's own

func (sglangDiffusion) probe(ctx context.Context, c *client, _ Target) (Facts, error) {
	f := Facts{}.paths()
	var err error
	if f.Version, err = version(ctx, c); err != nil {
		return f, err
	}
	_, known, err := profiling(ctx, c, f.Start,
		errors.New("it has no /start_profile: this release of the diffusion server cannot be profiled over HTTP"))
	if err == nil {
		err = told("", known) // what else answers may have a version too
	}
	return f, err
}

// began checks that the answer speaks of a profile: "Profiling started (profile_id=7). …".
func (sglangDiffusion) began(a answer) error {
	if !bytes.Contains(bytes.ToLower(a.body), []byte("profil")) {
		return fmt.Errorf("its answer says nothing of a profile: %v", a)
	}
	return nil
}

func (sglangDiffusion) start(r round) start {
	cfg := r.job.Config
	s := start{own: ownDir(r)}
	s.body = map[string]any{"output_dir": s.own, "with_stack": cfg.WithStack, "record_shapes": cfg.RecordShapes}
	if kinds := activities(cfg, sglangActivities); kinds != nil {
		s.body["activities"] = kinds
	}
	return s
}

func (sglangDiffusion) refused(a answer) error {
	switch a.status {
	case http.StatusBadRequest:
		return fmt.Errorf("its profiler is on already, for somebody else or since a session that was never stopped: "+
			"POST /stop_profile ends that (%v)", a)
	case http.StatusServiceUnavailable:
		return fmt.Errorf("it is not ready yet: wait until /health answers (%v)", a)
	}
	return fmt.Errorf("POST /start_profile: %v", a)
}

func (sglangDiffusion) lacks(cfg protocol.ProfilerConfig) string {
	if cfg.WithMemory {
		return "memory is not recorded: the server has no activity for it"
	}
	return ""
}

func (sglangDiffusion) nothing(driver.Job) string {
	return "a GPU worker whose profiler did not start is a warning in the server's answer or its log"
}

// trtllm is TensorRT-LLM's trtllm-serve, whose routes are like SGLang's; written from its sources of
// September 2026 and not tried.
type trtllm struct{ plainEngine }

var _ = register(protocol.EngineTensorRTLLM, trtllm{})

func (trtllm) probe(ctx context.Context, c *client, _ Target) (Facts, error) {
	f := Facts{Steps: true}.paths()
	var err error
	if f.Version, err = version(ctx, c); err != nil {
		return f, err
	}
	api, known, err := routes(ctx, c)
	if err == nil && known {
		if api.Paths[f.Start] == nil {
			return f, errors.New("it has no /start_profile: this release of trtllm-serve cannot be profiled over HTTP")
		}
		f.Fields = api.accepts(f.Start, "ProfileReq", "ProfileReqInput")
	}
	if err == nil {
		err = told(f.Version, known)
	}
	return f, err
}

var trtllmActivities = map[string]string{"CPU": "CPU", "CUDA": "GPU", "GPU": "GPU"}

func (trtllm) start(r round) start {
	s := start{own: ownDir(r)}
	s.body = map[string]any{"output_dir": s.own}
	if n := r.job.Config.MaxIterations; n > 0 {
		s.body["num_steps"] = n
	}
	if kinds := activities(r.job.Config, trtllmActivities); kinds != nil {
		s.body["activities"] = kinds
	}
	return s
}

func (trtllm) lacks(cfg protocol.ProfilerConfig) string {
	if cfg.WithStack || cfg.RecordShapes || cfg.WithMemory {
		return "stacks, shapes and memory are not recorded: a start of trtllm-serve cannot ask for them"
	}
	return ""
}

func (trtllm) nothing(driver.Job) string {
	return "trtllm-serve begins with the next step of its engine, and a server that ran none meanwhile writes nothing; " +
		"else its log says why"
}
