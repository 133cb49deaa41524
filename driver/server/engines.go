package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
	// Fields are the members that a start takes, where the server says so: no other is sent.
	Fields map[string]bool
	// Worker is the engine behind a server that only hands calls on.
	Worker protocol.Engine
	// Start and Stop are the paths of the routes.
	Start, Stop string
}

// paths fills in the usual routes.
func (f Facts) paths() Facts {
	f.Start, f.Stop = "/start_profile", "/stop_profile"
	return f
}

// round is one session on one server, as an engine has to know it.
type round struct {
	facts Facts
	to    Target
	job   driver.Job
	tag   string // the session's name on this server: letters and digits
}

// start is how a session is begun.
type start struct {
	body map[string]any // nil: none is sent
	// own is the directory of the session's own that the server is made to write to, ""
	// if it writes to one that it shares.
	own string
}

// engine is what differs between servers. Its methods are called with nothing locked.
type engine interface {
	// port is where the engine listens unless told.
	port() string
	// layout is how its files are told.
	layout() layout
	// probe asks what the server is; the error says what is missing and how to mend it.
	probe(ctx context.Context, c *client, to Target) (Facts, error)
	// start is what begins a session.
	start(r round) start
	// stop is the body that ends it, nil for none.
	stop(r round) map[string]any
	// began judges the body of a start that was answered with a status of success.
	began(a answer) error
	// refused explains the answer to a start that the server did not take.
	refused(a answer) error
	// lacks is what of a session's config the server cannot be told, "" if nothing.
	lacks(cfg protocol.ProfilerConfig) string
	// nothing explains why a server may have written nothing, by what is known of it.
	nothing(j driver.Job) string
}

// layout is how a server's files lie and what they are named by.
type layout struct {
	deep      bool // in directories below the one that it shares
	packs     bool // it packs its files after it has answered the stop
	localRank bool // its names have the rank on a host: the header goes before them
	stages    bool // one server has several stages, each a rank of the session's
	together  bool // and one start begins them all
}

var engines = map[protocol.Engine]engine{
	protocol.EngineVLLM: vllm{}, protocol.EngineSGLang: sglang{}, protocol.EngineVLLMOmni: vllmOmni{},
	protocol.EngineSGLangDiffusion: sglangDiffusion{}, protocol.EngineSGLangOmni: sglangOmni{},
	protocol.EngineDynamo: dynamo{}, protocol.EngineTensorRTLLM: trtllm{},
}

// plainEngine is what most servers have in common.
type plainEngine struct{}

func (plainEngine) port() string              { return "8000" }
func (plainEngine) layout() layout            { return layout{} }
func (plainEngine) stop(round) map[string]any { return nil }
func (plainEngine) began(answer) error        { return nil }
func (plainEngine) refused(a answer) error    { return fmt.Errorf("it refuses the start: %v", a) }

// openapi is what a FastAPI server says of its routes, as far as a probe looks.
type openapi struct {
	Paths      map[string]any
	Components struct {
		Schemas map[string]struct{ Properties map[string]any }
	}
}

// fields are the members of the first schema whose name begins so, nil if there is none.
func (o *openapi) fields(schema string) map[string]bool {
	for name, s := range o.Components.Schemas {
		if strings.HasPrefix(name, schema) && len(s.Properties) > 0 {
			out := map[string]bool{}
			for p := range s.Properties {
				out[p] = true
			}
			return out
		}
	}
	return nil
}

// routes asks for the server's routes; known is whether it tells.
func routes(ctx context.Context, c *client) (o openapi, known bool, err error) {
	a, err := c.get(ctx, "/openapi.json", &o)
	return o, err == nil && a.ok() && len(o.Paths) > 0, err
}

// profiling asks for the server's routes as routes does; that it tells them and has not the
// one that starts a profile is the error none.
func profiling(ctx context.Context, c *client, start string, none error) (o openapi, known bool, err error) {
	o, known, err = routes(ctx, c)
	if err == nil && known && o.Paths[start] == nil {
		err = none
	}
	return o, known, err
}

// version asks for the server's version, which not every server has a route for.
func version(ctx context.Context, c *client) (string, error) {
	var v struct{ Version string }
	a, err := c.get(ctx, "/version", &v)
	if err == nil && !a.ok() && a.status != http.StatusNotFound {
		err = fmt.Errorf("GET /version: %v", a)
	}
	return v.Version, err
}

// vllm is vLLM 0.2x to 0.32, as tried (docs/servers.md).
type vllm struct{ plainEngine }

// errNoProfiler is a vLLM that was started without one.
var errNoProfiler = errors.New("it has no /start_profile: start it with --profiler-config " +
	`'{"profiler":"torch","torch_profiler_dir":"/DIR","torch_profiler_with_stack":false}'`)

func (vllm) probe(ctx context.Context, c *client, _ Target) (Facts, error) {
	v, err := version(ctx, c)
	f := Facts{Version: v}.paths()
	if err != nil {
		return f, err
	}
	api, known, err := profiling(ctx, c, f.Start, errNoProfiler)
	if err != nil || !known {
		return f, err
	}
	f.Fields = api.fields("StartProfileRequest")
	f.Prefix, f.Steps, f.Delay = f.Fields["profile_prefix"], f.Fields["max_iterations"], f.Fields["delay_iterations"]
	return f, nil
}

func (vllm) start(r round) start {
	body := map[string]any{}
	if r.facts.Prefix {
		body["profile_prefix"] = r.tag
	}
	if n := r.job.Config.MaxIterations; n > 0 {
		body["max_iterations"] = n
	}
	if n := r.job.Config.DelayIterations; n > 0 {
		body["delay_iterations"] = n
	}
	if len(body) == 0 { // a release that reads none may forbid one
		return start{}
	}
	return start{body: body}
}

func (vllm) refused(a answer) error {
	switch a.status {
	case http.StatusConflict:
		return fmt.Errorf("its profiler is on already, for somebody else or since a session that was never stopped: "+
			"POST /stop_profile ends that (%v)", a)
	case http.StatusNotFound:
		return errNoProfiler
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

// activities are a config's, in a server's words; those that it has no word for are left out.
func activities(cfg protocol.ProfilerConfig, words map[string]string) []string {
	var kinds []string
	for _, a := range cfg.Activities {
		kind := words[strings.ToUpper(a)]
		if kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}
