package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// dynamo is the system server of one worker of NVIDIA Dynamo, which forwards the calls to the vLLM
// or SGLang in it. It was tried with the runtime of release 1.6.1 (docs/servers.md).
type dynamo struct{ plainEngine }

var _ = register(protocol.EngineDynamo, dynamo{})

// layout is that of the vLLM in it; an SGLang's names tell replicas apart.
func (dynamo) layout() layout { return vllm{}.layout() }

func (dynamo) port() string { return "8081" }

func (dynamo) manners() manners { return manners{getStarts: true, keyless: true} }

// dir is not known: no command line has the port of a worker's system server.
func (dynamo) dir(func() []string) (string, error) { return "", errNoDir }

// dynamoWorkers are the engines to which a worker of Dynamo forwards calls.
var dynamoWorkers = []protocol.Engine{protocol.EngineVLLM, protocol.EngineSGLang}

// The prefixes of the routes: they moved on 15 June 2026.
const (
	dynamoControl = "/engine/control/"
	dynamoOld     = "/engine/"
)

// probe only finds out that a system server answers, by the state that its /health tells, ready or
// not. It asks for no profile route: the server runs a route's handler whatever the method of the
// request, so that a GET, too, would start the profiler. The routes of older releases are tried
// when a start is answered with 404 (Facts.Older).
func (dynamo) probe(ctx context.Context, c *client, to Target) (Facts, error) {
	f := Facts{Worker: dynamoWorkers[0]}
	if to.Worker != "" {
		f.Worker = to.Worker
	}
	var health struct{ Status string }
	a, err := c.get(ctx, "/health", &health)
	switch {
	case err != nil:
		return f, err
	case a.status == http.StatusNotFound:
		return f,
			errors.New(
				"it has no /health: give the port of the worker's system server, DYN_SYSTEM_PORT, not the front end's")
	case a.ok() && health.Status == "":
		return f, unknown("/health", a)
	}
	f.Start, f.Stop = dynamoControl+"start_profile", dynamoControl+"stop_profile"
	f.Older = &Routes{Start: dynamoOld + "start_profile", Stop: dynamoOld + "stop_profile"}
	f.Steps = f.Worker == protocol.EngineSGLang
	return f, nil
}

// start asks a vLLM for the session's name on its files, by which they are removed once they are home.
// They are not told by it: before vLLM 0.32 a worker keeps the name of its first session.
func (dynamo) start(r round) start {
	if r.facts.Worker == protocol.EngineSGLang {
		return sglang{}.start(r)
	}
	return start{body: map[string]any{"profile_prefix": r.tag}}
}

// began checks the answer, which says whether a worker failed.
func (dynamo) began(a answer) error {
	var said struct{ Status string }
	if a.decode(&said) != nil || !strings.EqualFold(said.Status, "ok") {
		return fmt.Errorf("it does not say that it is ok: %v", a)
	}
	return nil
}

func (dynamo) refused(a answer) error {
	if a.status == http.StatusNotFound {
		return fmt.Errorf("it has neither %[1]sstart_profile nor %[2]sstart_profile: this worker has no profile routes",
			dynamoControl, dynamoOld)
	}
	return fmt.Errorf("it refuses the start: %v", a)
}

func (dynamo) lacks(cfg protocol.ProfilerConfig) string {
	if cfg.WithMemory {
		return "memory is not recorded: it cannot be asked for through Dynamo"
	}
	return ""
}

func (dynamo) nothing(driver.Job) string {
	return "the worker's log says why its profiler wrote nothing; is dir where that worker writes, and was a vLLM " +
		"started with a --profiler-config?"
}
