package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Facts are what a server says of itself before anything is started.
type Facts struct {
	Version string
	Ranks   int  // of all replicas; 0 if it does not say
	TP, PP  int  // its tensor and pipeline parallel sizes, where its files are named by them
	Groups  bool // DP in those names counts groups of the ranks, not replicas
	Prefix  bool // a start takes a profile_prefix: new files can be told by name
	Steps   bool // a start takes a number of steps
	Delay   bool // and a number of steps before them
	// Replicas are the numbers of its data-parallel replicas, jobs of their own behind its routes; nil if it
	// does not say.
	Replicas []int
	mute     bool // what says so did not answer
	// Fields are the members that a start accepts, if the server lists them: no others are sent.
	Fields map[string]bool
	// Worker is the engine behind a server that forwards calls to it.
	Worker protocol.Engine
	// Models are the names of what it serves, none if it does not say.
	Models []string
	// Nsys: the server's profiler is that of CUDA, so that Nsight Systems writes, a while after the stop.
	Nsys bool
	// Start and Stop are the paths of the routes.
	Start, Stop string
	// Older are those of older releases, tried if a start at the others is answered with 404; nil if
	// the routes never moved.
	Older *Routes
}

// Routes are the paths with which a server's profiler is started and stopped.
type Routes struct{ Start, Stop string }

// paths fills in the usual routes.
func (f Facts) paths() Facts {
	f.Start, f.Stop = "/start_profile", "/stop_profile"
	return f
}

// round is one session on one server, with what an engine needs to know.
type round struct {
	facts Facts
	to    Target
	job   driver.Job
	tag   string // the session's name on this server: letters and digits
}

// start is the request that begins a session.
type start struct {
	body map[string]any // nil: none is sent
	// own is a directory for this session alone, into which the server is told to write; "" if it
	// writes into a directory that sessions share.
	own string
}

// engine has the differences between servers. Its methods are called without locks.
type engine interface {
	// port is the engine's default port.
	port() string
	// layout says how its files are named and placed.
	layout() layout
	// probe asks the server what it is. The error says what is missing and what to do about it.
	probe(ctx context.Context, c *client, to Target) (Facts, error)
	// start returns the request that begins a session.
	start(r round) start
	// stop returns the body of the request that ends it, nil for none.
	stop(r round) map[string]any
	// began checks the body of a start's successful answer.
	began(a answer) error
	// refused explains the answer to a start that the server did not take.
	refused(a answer) error
	// lacks names the settings of a session's config that the server does not accept, "" if there
	// are none.
	lacks(cfg protocol.ProfilerConfig) string
	// nothing explains why a server may have written nothing, from what is known of it.
	nothing(j driver.Job) string
	// manners says how its routes behave, and what stages it has.
	manners() manners
	// runs reports whether a command line starts a server of this engine.
	runs(args []string) bool
	// dir returns the directory to which a server on this host writes. lines are the command lines of
	// the host's processes that serve at the target's port.
	dir(lines func() []string) (string, error)
	// cost says what a server on this host makes dearer than it need be, by the same command lines;
	// nil if they do not tell.
	cost(lines func() []string) *Check
}

// manners is what the driver has to know of an engine beside its files.
type manners struct {
	getStarts bool               // a GET of the start's path starts the profiler: nothing can be found out with it
	keyless   bool               // its profile routes ask for no key, however it is started
	prefix    bool               // newer releases take a profile_prefix
	stage     protocol.StageType // of a stage whose name does not tell; "": llm
}

// layout says where a server's files lie and how they are named.
type layout struct {
	deep      bool // in directories below the shared one
	packs     bool // it compresses its files after it has answered the stop
	localRank bool // names have the rank on a host or in a replica, so the header's rank is preferred
	alike     bool // replicas give their files the same names
	stages    bool // one server has several stages, each a rank of the session
	together  bool // one start begins all of them
}

// engines are all that can be driven; each registers itself in its own file.
var engines = map[protocol.Engine]engine{}

// register adds an engine under the name that targets begin with, as the value of a package's
// variable. It panics if the name is taken.
func register(name protocol.Engine, e engine) engine {
	if engines[name] != nil {
		panic(fmt.Sprintf("driver/server: engine %q is registered twice", name))
	}
	engines[name] = e
	return e
}

// plainEngine is what most servers have in common.
type plainEngine struct{}

func (plainEngine) port() string              { return "8000" }
func (plainEngine) layout() layout            { return layout{} }
func (plainEngine) stop(round) map[string]any { return nil }
func (plainEngine) began(answer) error        { return nil }
func (plainEngine) manners() manners          { return manners{} }
func (plainEngine) runs([]string) bool        { return false }
func (plainEngine) refused(a answer) error    { return fmt.Errorf("it refuses the start: %v", a) }

// dir is any that both can write to: most servers are told where to write.
func (plainEngine) dir(func() []string) (string, error) { return os.TempDir(), nil }
func (plainEngine) cost(func() []string) *Check         { return nil }

// openapi is the part of a FastAPI server's description that a probe reads.
type openapi struct {
	Paths      map[string]any
	Components struct {
		Schemas map[string]struct{ Properties map[string]any }
	}
}

// accepts returns the members of the bodies that a route takes by POST, nil if the server does not say: those
// of the schemas that the route's description refers to or, without such, of the first schema with one of
// the names.
func (o *openapi) accepts(path string, names ...string) map[string]bool {
	out := map[string]bool{}
	route, _ := o.Paths[path].(map[string]any)
	post, _ := route["post"].(map[string]any)
	referred := refs(post["requestBody"], nil)
	for _, name := range append(referred, names...) {
		if len(out) > 0 && !slices.Contains(referred, name) {
			break
		}
		for p := range o.Components.Schemas[name].Properties {
			out[p] = true
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// refs adds the names of the schemas that part of a description refers to.
func refs(part any, list []string) []string {
	switch v := part.(type) {
	case map[string]any:
		if name, ok := v["$ref"].(string); ok {
			list = append(list, name[strings.LastIndexByte(name, '/')+1:])
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			list = refs(v[key], list)
		}
	case []any:
		for _, one := range v {
			list = refs(one, list)
		}
	}
	return list
}

// routes asks for the server's routes; known is false if the server does not list them.
func routes(ctx context.Context, c *client) (o openapi, known bool, err error) {
	a, err := c.get(ctx, "/openapi.json", &o)
	return o, err == nil && a.ok() && len(o.Paths) > 0, err
}

// profiling asks for the server's routes, as routes does. If the server lists them and the one that
// starts a profile is not among them, the error is none.
func profiling(ctx context.Context, c *client, start string, none error) (o openapi, known bool, err error) {
	o, known, err = routes(ctx, c)
	if err == nil && known && o.Paths[start] == nil {
		err = none
	}
	return o, known, err
}

// told is the error of a server that has told neither its version nor its routes: whatever it is,
// nothing shows that it is one that can be driven.
func told(version string, routes bool) error {
	if version != "" || routes {
		return nil
	}
	return &unknownError{path: "/version and /openapi.json", says: "nothing that such a server says"}
}

// maxModels bounds the names of models that are kept: one, and its adapters.
const maxModels = 8

// models asks for the names of what the server serves, which not every server tells.
func models(ctx context.Context, c *client) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, c.aside)
	defer cancel()
	var list struct{ Data []struct{ ID string } }
	if a, err := c.get(ctx, "/v1/models", &list); err != nil || !a.ok() {
		return nil
	}
	for _, m := range list.Data[:min(len(list.Data), maxModels)] {
		names = append(names, m.ID)
	}
	return names
}

// version asks for the server's version; not every server has a route for it.
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

var _ = register(protocol.EngineVLLM, vllm{})

// errNoProfiler reports a vLLM that was started without a profiler.
var errNoProfiler = errors.New("it has no /start_profile: start it with --profiler-config " +
	`'{"profiler":"torch","torch_profiler_dir":"/DIR","torch_profiler_with_stack":false}'`)

func (vllm) layout() layout { return layout{localRank: true, alike: true} }

func (vllm) probe(ctx context.Context, c *client, to Target) (Facts, error) {
	v, err := version(ctx, c)
	f := Facts{Version: v}.paths()
	if err != nil {
		return f, err
	}
	api, known, err := profiling(ctx, c, f.Start, errNoProfiler)
	if err == nil {
		err = told(v, known)
	}
	if err != nil || !known {
		return f, err
	}
	f.Fields = api.accepts(f.Start, "StartProfileRequest")
	if !to.NoMetrics {
		f.Replicas, err = replicasByMetrics(ctx, c)
		f.mute = err != nil
	}
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
	if len(body) == 0 { // some releases forbid a body
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

func (vllm) manners() manners { return manners{prefix: true} }

// runs takes "vllm serve", and "vllm-omni serve", which is a vLLM with more stages.
func (vllm) runs(args []string) bool {
	for i, a := range args {
		if a == "vllm.entrypoints.openai.api_server" || a == "serve" && i > 0 &&
			(filepath.Base(args[i-1]) == "vllm" || filepath.Base(args[i-1]) == "vllm-omni") {
			return true
		}
	}
	return false
}

// vllmDir matches the directory in a vLLM's command line.
var vllmDir = regexp.MustCompile(`torch_profiler_dir["']?\s*[:=]\s*["']?([^"',}\s]+)`)

// vllmStacks matches whether a vLLM's command line asks for call stacks.
var vllmStacks = regexp.MustCompile(`torch_profiler_with_stack["']?\s*[:=]\s*["']?(\w+)`)

// dir is the torch_profiler_dir of its command line.
func (vllm) dir(lines func() []string) (string, error) {
	for _, line := range lines() {
		if m := vllmDir.FindStringSubmatch(line); m != nil && filepath.IsAbs(m[1]) {
			return m[1], nil
		}
	}
	return "", errNoDir
}

// cost is that of call stacks, which a vLLM records unless its command line says no.
func (vllm) cost(lines func() []string) *Check {
	for _, line := range lines() {
		if !vllmDir.MatchString(line) {
			continue
		}
		if m := vllmStacks.FindStringSubmatch(line); m != nil && !strings.EqualFold(m[1], "true") {
			return &Check{Verdict: Good, Says: "no call stacks"}
		}
		return &Check{Verdict: Doubt,
			Says: "it records call stacks: a stop takes minutes and files are some ten times as large, and requests wait " +
				"as long",
			Mend: `restart it with "torch_profiler_with_stack":false`}
	}
	return nil
}

// activities returns a config's activities in the server's words, without those that it has no word
// for.
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
