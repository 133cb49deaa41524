package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/child"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/httpd"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/load"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store/runs"
	"github.com/kinetoscope/kinetoscope/units"
	"github.com/kinetoscope/kinetoscope/web"
)

type captureCmd struct {
	flags.Profiler
	flags.Hub
	flags.Session
	Pipeline    string        `help:"${builtins}, or a deployment file; omni without it. With --target it runs beside the servers." placeholder:"NAME|FILE"`
	Prompts     string        `help:"Prompts to send, one a line or one JSON object a line; - is stdin." placeholder:"FILE"`
	Duration    time.Duration `help:"Send the prompts again and again for so long."`
	Iterations  int           `help:"Record so many iterations (decode or denoise steps) on every rank, then stop." placeholder:"N"`
	Concurrency int           `default:"4" help:"Requests on their way at once."`
	TP          int           `name:"tensor-parallel-size" help:"Ranks of every stage, in place of the deployment's: 1, 2 or 4." placeholder:"N"`
	RunsDir     string        `help:"Where the run is kept; torch_profiler_dir or runs without it." type:"path"`
	Last        time.Duration `help:"Capture what already happened so long on a running server, from the flight recorders of all ranks." placeholder:"10s"`
	URL         string        `default:"${server}" env:"KINETOSCOPE_URL" help:"The server, with --last."`
	APIKey      string        `name:"api-key" env:"KINETOSCOPE_API_KEY" help:"Key that the server asks for, with --last." placeholder:"KEY"`
	Attach      bool          `help:"Run no pipeline: capture processes that attach by themselves, by kinetoscope.attach or python -m kinetoscope run; with a command after -- those that it starts."`
	Kineto      bool          `help:"Run no pipeline: capture PyTorch processes as they are, over Kineto's daemon protocol; with a command after -- those that it starts, else those of this host that have KINETO_USE_DAEMON in their environment."`
	SocketDir   string        `env:"KINETO_IPC_SOCKET_DIR" help:"With --kineto, the KINETO_IPC_SOCKET_DIR of the processes." placeholder:"DIR"`
	Ranks       int           `help:"With --attach or --kineto, record when so many ranks have come; all of their world size without it." placeholder:"N"`
	Ready       string        `help:"With --attach or --kineto and a command that is a server: record when this answers, and end the command when the session has." placeholder:"URL|HOST:PORT"`
	Targets     []string      `name:"target" sep:"none" help:"Capture a server as it is, over its own profile routes; may be given several times. ENGINE://HOST:PORT, as vllm:// or sglang://, with options as in ?dir=DIR&stage=NAME (docs/servers.md has the engines and options). A command after -- is the load." placeholder:"URL"`
	JSON        bool          `name:"json" help:"Print session, report and outputs as JSON."`

	Command []string `kong:"-"` // after --
}

// captureResult is what --json prints.
type captureResult struct {
	SchemaVersion int              `json:"schema_version"`
	Session       *session.Status  `json:"session"`
	Report        *pipeline.Report `json:"report"`
	Outputs       []string         `json:"outputs"`
	Requests      int              `json:"requests"`
	Failed        int              `json:"failed"`
}

// defaultPipeline is captured if the user names none.
const defaultPipeline = "omni"

// captureSchema is the version of captureResult.
const captureSchema = 1

func (c *captureCmd) Run(e *cli.Env) error {
	switch {
	case c.Last != 0:
		return c.lookBack(e)
	case len(c.Targets) > 0:
		return c.servers(e)
	case c.Attach && c.Kineto:
		return cli.Usage("--attach and --kineto: name one")
	case c.Attach || c.Kineto:
		return c.attached(e)
	case c.Ready != "":
		return cli.Usage("--ready goes with --attach or --kineto")
	case c.Ranks != 0:
		return cli.Usage("--ranks goes with --attach or --kineto")
	}
	c.Pipeline = cmp.Or(c.Pipeline, defaultPipeline)
	plan, requests, err := c.check(e)
	if err != nil {
		return err
	}
	p := cli.NewProgress(e.Err)
	p.Say("starting %s", c.Pipeline)
	begin := time.Now()
	outputs := new(load.Outputs)
	plan.Config.Attach = outputs.Attach
	eng, err := plan.Open(e.Ctx)
	if err != nil {
		p.End()
		return cli.StartError(err)
	}
	defer eng.Close()
	ranks := 0
	for _, s := range eng.Stages() {
		ranks += s.Replicas * s.Ranks
	}
	p.Say("%d stages, %d ranks ready in %s", len(eng.Stages()), ranks, units.Duration(float64(time.Since(begin))))
	if requests == nil {
		requests = load.Default(eng.Stages())
	}
	if _, err := eng.StartProfile(e.Ctx, c.startRequest()); err != nil {
		p.End()
		return cli.StartError(err)
	}
	sent := c.drive(e, eng, requests, outputs, p)
	p.Say("stopping, collecting and converting")
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(e.Ctx), stopTimeout)
	defer cancel()
	st, err := stopFollowed(stopCtx, eng, p)
	p.End()
	if err != nil {
		return fmt.Errorf("stop the session: %w", err)
	}
	res := captureResult{SchemaVersion: captureSchema, Session: st, Outputs: load.Paths(st), Requests: sent.Sent,
		Failed: sent.Failed}
	if res.Report, err = runs.Report(st.RunDir); err != nil {
		return err
	}
	if err := c.print(e, &res); err != nil {
		return err
	}
	if e.Ctx.Err() != nil {
		sent.Err = errors.New("interrupted; the run holds what was recorded until then")
	}
	return errors.Join(sent.Err, outcome.Error(st))
}

// stopTimeout bounds the end of a capture; the bounds of the session itself are shorter.
const stopTimeout = 5 * time.Minute

// stopFollowed stops a session and shows on the line how far its end is.
func stopFollowed(ctx context.Context, eng *omni.Engine, p *cli.Progress) (*session.Status, error) {
	end := outcome.Follow(ctx, p, func(context.Context) *session.Status { return eng.Session() })
	defer end()
	return eng.StopProfile(ctx)
}

// check reads all input before anything is started.
func (c *captureCmd) check(e *cli.Env) (*omni.Plan, []omni.Request, error) {
	o, err := c.Override(e)
	if err != nil {
		return nil, nil, err
	}
	q := c.startRequest()
	if err := q.Validate(); err != nil {
		return nil, nil, flags.FieldError(err)
	}
	switch {
	case c.Concurrency < 1:
		return nil, nil, cli.Usage("--concurrency %d: 1 or more", c.Concurrency)
	case c.Duration < 0:
		return nil, nil, cli.Usage("--duration %v: 0 or more", c.Duration)
	case c.Iterations < 0:
		return nil, nil, cli.Usage("--iterations %d: 0 or more", c.Iterations)
	case c.Command != nil && (c.Prompts != "" || c.Duration > 0 || c.Iterations > 0):
		return nil, nil,
			cli.Usage("a command sends the requests itself: leave out --prompts, --duration and --iterations")
	}
	if err := child.Check(c.Command); err != nil {
		return nil, nil, err
	}
	var requests []omni.Request
	if c.Prompts != "" {
		if requests, err = readPrompts(e, c.Prompts); err != nil {
			return nil, nil, err
		}
	}
	cfg := omni.Config{Pipeline: c.Pipeline, TensorParallelSize: c.TP, Profiler: o, RunsDir: c.RunsDir, Logger: e.Log}
	if err := c.Hub.Set(&cfg); err != nil {
		return nil, nil, err
	}
	plan, err := cfg.Plan(e.Ctx)
	if err != nil {
		return nil, nil, cli.UsageError{Err: err}
	}
	if err := c.checkStages(plan.Pipeline); err != nil {
		return nil, nil, err
	}
	if err := plan.CheckRequests(requests); err != nil {
		return nil, nil, cli.Usage("--prompts %s: %w", c.Prompts, err)
	}
	return plan, requests, nil
}

// startRequest returns the session that the flags ask for.
func (c *captureCmd) startRequest() protocol.StartRequest {
	q := c.Request()
	if c.Iterations > 0 {
		q.MaxIterations = &c.Iterations
	}
	q.Last = c.Last
	if c.Kineto {
		q.MaxDuration = c.Duration // Kineto needs the duration when it begins
	}
	return q
}

// readPrompts reads a prompt file; "-" is stdin.
func readPrompts(e *cli.Env, path string) ([]omni.Request, error) {
	in := e.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, cli.UsageError{Err: err}
		}
		defer f.Close()
		in = f
	}
	requests, err := load.Read(path, in)
	if err != nil {
		return nil, cli.UsageError{Err: err}
	}
	return requests, nil
}

// checkStages returns an error if no stage of the pipeline can be captured.
func (c *captureCmd) checkStages(p *deploy.Pipeline) error {
	q := c.startRequest()
	if err := q.CheckStages(p.Refs()); err != nil {
		return flags.FieldError(err)
	}
	for _, id := range c.Stages {
		if st := p.Stage(id); !st.Profiled() {
			return cli.Usage("--stages %d: %s has no profiler: set profiler_config: {profiler: torch} there", id,
				st.Name)
		}
	}
	for i := range p.Stages {
		if p.Stages[i].Profiled() {
			return nil
		}
	}
	return cli.Usage("no stage of pipeline %s has a profiler: set profiler_config: {profiler: torch} in the file, or --profiler-config.profiler=torch", p.Name)
}

// drive sends requests while the session records, or runs the command that sends them.
func (c *captureCmd) drive(e *cli.Env, eng *omni.Engine, requests []omni.Request, out *load.Outputs,
	p *cli.Progress) load.Result {
	if c.Command != nil {
		p.End()
		return load.Result{Err: c.runCommand(e, eng)}
	}
	stop, cancel := context.WithCancel(e.Ctx)
	defer cancel()
	if c.Duration > 0 {
		stop, cancel = context.WithTimeout(e.Ctx, c.Duration)
		defer cancel()
	}
	o := load.Options{Requests: requests, Concurrency: c.Concurrency, Endless: c.Duration > 0 || c.Iterations > 0,
		Stop: stop.Done(), Outputs: out, Done: func(done int) { p.Say("%d requests done", done) }}
	var watch sync.WaitGroup
	if o.Endless && (c.Iterations > 0 || c.MaxBytes > 0) { // once nothing is recorded, nothing needs to be sent
		watch.Go(func() {
			awaitRecorded(stop, eng)
			cancel()
		})
	}
	res := load.Drive(e.Ctx, eng, o)
	cancel()
	watch.Wait()
	return res
}

// recordedPoll is how often the ranks are asked whether they still record.
const recordedPoll = 50 * time.Millisecond

// awaitRecorded returns when every rank has ended its recording by itself.
func awaitRecorded(ctx context.Context, eng *omni.Engine) {
	for wait.For(ctx, recordedPoll) == nil {
		if done, err := eng.Recorded(ctx); done || err != nil {
			return
		}
	}
}

// runCommand serves the pipeline and runs the user's command against it.
func (c *captureCmd) runCommand(e *cli.Env, eng *omni.Engine) error {
	ln, err := httpd.Bind(e.Ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := httpd.ForEngine(e, eng, ln, web.Config{ShutdownGrace: httpd.QuickShutdown})
	ctx, cancel := context.WithCancel(e.Ctx)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	cmd := exec.CommandContext(e.Ctx, c.Command[0], c.Command[1:]...)
	cmd.Env = append(os.Environ(), "KINETOSCOPE_URL="+srv.URL, "OPENAI_BASE_URL="+srv.URL+"/v1", "OPENAI_API_KEY=none")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.In, cli.Raw(e.Err), cli.Raw(e.Err)
	err = cmd.Run()
	cancel()
	if err != nil {
		// Its exit code is not passed on: 2 would say that the capture's input was wrong.
		err = fmt.Errorf("%s: %v", c.Command[0], err) //nolint:errorlint // see above
	}
	return errors.Join(err, <-served)
}

func (c *captureCmd) print(e *cli.Env, res *captureResult) error {
	if c.JSON {
		return cli.JSON(e.Out, res)
	}
	if res.Report != nil {
		if err := report.Text(e.Out, res.Report, e.Text()); err != nil {
			return err
		}
	}
	return outcome.Print(e.Out, res.Session)
}
