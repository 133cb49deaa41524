package overhead

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/session"
)

var update = flag.Bool("update", false, "write the golden files anew")

// pipe is a pipeline of two stages whose steps take what the profiler's state makes of
// a millisecond; the machine becomes slower with every request. The ranks of
// the second stage do not know of flight recorders.
type pipe struct {
	t    *testing.T
	runs string

	mu     sync.Mutex
	flight bool
	on     *protocol.StartRequest
	sent   int
	sums   map[string]wire.Durations

	unwell   int // times that Health says so
	noFlight bool
	mute     bool                     // the second stage does not answer
	fail     error                    // of every request once a session records
	restart  int                      // requests after which the counts are lost
	stopped  protocol.StopCause       // "": request
	end      protocol.RankState       // "": complete
	asked    []*protocol.StartRequest // sessions
}

// cost is what a state makes of a step.
func (p *pipe) cost() float64 {
	c := 1.0
	if p.flight {
		c = 1.25
	}
	if p.on != nil && *p.on.DelayIterations == 0 {
		c = 1.5
		if p.on.Config != nil {
			c = 2
		}
	}
	return c
}

func (p *pipe) Model() string { return "pipe" }

func (p *pipe) Stages() []omni.StageInfo {
	return []omni.StageInfo{{ID: 0, Name: "thinker", Engine: "native", Replicas: 1, Ranks: 1, Profiler: true},
		{ID: 1, Name: "voice", Engine: "torch", Replicas: 1, Ranks: 1, Profiler: true},
		{ID: 2, Name: "plain", Engine: "native", Replicas: 1, Ranks: 1}}
}

func (p *pipe) Generate(ctx context.Context, r omni.Request) iter.Seq2[omni.Output, error] {
	return func(yield func(omni.Output, error) bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.fail != nil && p.on != nil && *p.on.DelayIterations == 0 {
			yield(omni.Output{}, p.fail)
			return
		}
		p.sent++
		if p.restart > 0 && p.sent == p.restart {
			clear(p.sums)
		}
		slow := 1e-3 * math.Pow(1.0001, float64(p.sent))
		add := func(name string, n uint64, each float64) {
			d := p.sums[name]
			d.Count += n
			d.SumSeconds += float64(n) * each
			p.sums[name] = d
		}
		add("0.prefill", 1, slow)
		add("0.decode_step", 4, slow*p.cost())
		add("0.handoff", 4, slow)
		add("1.vocode", 2, slow*p.cost())
		yield(omni.Output{Finished: true}, ctx.Err())
	}
}

func (p *pipe) StartProfile(_ context.Context, o protocol.StartRequest) (*session.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.on != nil {
		p.t.Error("a session was started in another")
	}
	p.on = &o
	p.asked = append(p.asked, p.on)
	return &session.Status{}, nil
}

func (p *pipe) StopProfile(context.Context) (*session.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := &session.Status{State: session.StateComplete, RunDir: filepath.Join(p.runs, "run")}
	for i := range 2 {
		r := protocol.RankStatus{State: protocol.StateComplete, StoppedBy: protocol.StoppedByRequest, Drops: 1}
		if p.stopped != "" {
			r.StoppedBy = p.stopped
		}
		if p.end != "" {
			r.State, r.Reason = p.end, "the reason"
		}
		if *p.on.DelayIterations == 0 {
			r.StartedAtNs = 1
		}
		st.Stages = append(st.Stages, session.StageStatus{Stage: i, Name: p.Stages()[i].Name,
			Ranks: []protocol.RankStatus{r}})
	}
	if err := os.MkdirAll(st.RunDir, 0o755); err != nil {
		return nil, err
	}
	p.on = nil
	return st, nil
}

func (p *pipe) CollectiveRPC(_ context.Context, method string, args map[string]any,
	stages []int) ([]protocol.StageReply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []protocol.StageReply
	for i, name := range []string{"thinker", "voice", "plain"} {
		if stages != nil && !slices.Contains(stages, i) {
			continue
		}
		r := protocol.CallReply{OK: true}
		native := i != 1
		switch {
		case method == protocol.CallFlight && native:
			p.flight = args["on"].(bool) && !p.noFlight
			r.Result = p.flight
		case method == protocol.CallDurations && (native || !p.mute):
			phases := map[string]any{}
			for key, d := range p.sums {
				if phase, ok := strings.CutPrefix(key, []string{"0.", "1.", "2."}[i]); ok {
					phases[phase] = d
				}
			}
			r.Result = phases
		default:
			r.OK, r.Error = false, "unknown method '"+method+"'"
		}
		out = append(out, protocol.StageReply{Stage: i, StageName: name,
			Ranks: []protocol.CallReply{r, {RankID: protocol.RankID{Rank: 1}, OK: true}}})
	}
	return out, nil
}

func (p *pipe) Close() error { return nil }

// Health counts down to what it is.
func (p *pipe) Health() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unwell > 0 {
		p.unwell--
		return errors.New("a rank is silent")
	}
	return nil
}

func newPipe(t *testing.T) *pipe {
	return &pipe{t: t, runs: t.TempDir(), flight: true, sums: map[string]wire.Durations{}}
}

func load(n int) []omni.Request {
	return Fixed([]omni.Request{{Messages: []omni.Message{{Role: "user", Content: "a"}}},
		{Messages: []omni.Message{{Role: "user", Content: "b"}}}}, n)
}

// clean is what must hold after every measurement, failed ones too.
func (p *pipe) clean() {
	p.t.Helper()
	if left, err := os.ReadDir(p.runs); err != nil || len(left) > 0 {
		p.t.Errorf("left behind: %v, %v", left, err)
	}
	if p.on != nil {
		p.t.Error("a session is still on")
	}
	if p.flight == p.noFlight {
		p.t.Errorf("the flight recorder is on: %v", p.flight)
	}
}

func TestMeasure(t *testing.T) {
	p := newPipe(t)
	var steps []string
	r, err := Measure(t.Context(), p, Options{Rounds: 8, Load: load(3), Concurrency: 9,
		Also: []Recording{{Name: "more"}},
		Progress: func(done, total int, what string) {
			if total != 40 || done > total {
				t.Errorf("%d of %d done", done, total)
			}
			steps = append(steps, what)
		}})
	if err != nil {
		t.Fatal(err)
	}
	p.clean()
	if want := []string{"off", "flight", "armed", "recording", "more"}; !slices.Equal(r.States, want) {
		t.Fatalf("states %v, want %v", r.States, want)
	}
	if r.Concurrency != 3 || r.Requests != 3 || r.Rounds != 8 || r.Drops != 8*3*2 || len(r.Unmeasured) != 0 {
		t.Errorf("%+v", r)
	}
	if len(steps) != 42 || steps[0] != "warming up" || steps[1] != "round 1 of 8: off" || steps[41] != "done" {
		t.Errorf("progress %q", steps)
	}
	var names []string
	for _, ph := range r.Phases {
		names = append(names, ph.Stage+" "+string(ph.Engine)+" "+ph.Phase)
	}
	if want := []string{"thinker native prefill", "thinker native decode_step",
		"voice torch vocode"}; !slices.Equal(names, want) {
		t.Fatalf("phases %q, want %q", names, want)
	}
	for i, want := range []float64{1, 1.25, 1.25, 1.5, 2} {
		s := r.Phases[1].States[i]
		if s.Steps != 8*3*4 {
			t.Errorf("%s: %d steps, the settling request's must not count", s.State, s.Steps)
		}
		if i == 0 {
			if s.Ratio != nil || s.Median < 1e-3 || s.Median > 2e-3 {
				t.Errorf("off: %+v", s)
			}
			continue
		}
		if q := s.Ratio; math.Abs(q.Median-want) > 0.01 || q.WithinNoise || q.Low > q.Median || q.High < q.Median ||
			q.Rounds != 8 {
			t.Errorf("%s: %+v, want %v in spite of the drift", s.State, q, want)
		}
		if q := r.Phases[0].States[i].Ratio; !q.WithinNoise {
			t.Errorf("%s: prefill, which costs the same in all states: %+v", s.State, q)
		}
	}
	for _, o := range p.asked {
		if !slices.Equal(o.Stages, []int{0, 1}) || *o.MaxIterations != 0 || o.MaxDuration != turnTimeout {
			t.Errorf("session %+v", o)
		}
	}
	for i, v := range [][]Value{r.Latency, r.Throughput} {
		if len(v) != 5 || v[0].Median <= 0 || v[0].Ratio != nil || v[1].Ratio == nil {
			t.Errorf("end to end %d: %+v", i, v)
		}
	}
}

func TestWithoutFlightRecorder(t *testing.T) {
	p := newPipe(t)
	p.noFlight, p.mute, p.unwell = true, true, 3
	r, err := Measure(t.Context(), p, Options{Rounds: MinRounds, Load: load(1), Stages: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	p.clean()
	if p.unwell > 0 {
		t.Error("a turn did not wait for the ranks")
	}
	if want := []string{"off", "armed", "recording"}; !slices.Equal(r.States, want) {
		t.Errorf("states %v, want %v", r.States, want)
	}
	if len(r.Unmeasured) != 1 || r.Unmeasured[0].Stage != "voice" ||
		!strings.Contains(r.Unmeasured[0].Reason, "unknown method") || len(r.Phases) != 2 {
		t.Errorf("a stage that does not answer: %+v, %+v", r.Unmeasured, r.Phases)
	}
	if !slices.Equal(p.asked[0].Stages, []int{0}) {
		t.Errorf("session %+v", p.asked[0])
	}
}

func TestMeasureFails(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name, want string
		o          Options
		set        func(*pipe)
	}{
		{"rounds", "5 rounds", Options{Rounds: 5, Load: load(1)}, nil},
		{"load", "no requests", Options{Rounds: 6}, nil},
		{"request", "recording: request 1: boom", Options{Rounds: 6, Load: load(2)}, func(p *pipe) { p.fail = boom }},
		{"window", "stage 0 (thinker) replica 0 rank 0 stopped by itself (max_duration)",
			Options{Rounds: 6, Load: load(2)}, func(p *pipe) { p.stopped = protocol.StoppedByMaxDuration }},
		{"rank", "rank 0 is lost: the reason", Options{Rounds: 6, Load: load(2)},
			func(p *pipe) { p.end = protocol.StateLost }},
		{"restart", "a rank was restarted", Options{Rounds: 6, Load: load(4)}, func(p *pipe) { p.restart = 32 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPipe(t)
			if c.set != nil {
				c.set(p)
			}
			_, err := Measure(t.Context(), p, c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q in it", err, c.want)
			}
			p.clean()
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		p := newPipe(t)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Measure(ctx, p, Options{Rounds: 6, Load: load(2), Progress: func(done, _ int, _ string) {
			if done == 7 {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want canceled", err)
		}
		p.clean()
	})
}

func TestFixed(t *testing.T) {
	seed := uint64(9)
	in := []omni.Request{{ID: "x", Sampling: omni.Sampling{Seed: &seed}}, {}}
	out := Fixed(in, 3)
	if len(out) != 3 || !out[0].Sampling.IgnoreEOS || out[0].ID != "" || *out[2].Sampling.Seed != 9 ||
		*out[2].Image.Seed != 9 || *out[1].Sampling.Seed != 1 {
		t.Errorf("%+v", out)
	}
	if in[1].Sampling.Seed != nil || in[0].Sampling.IgnoreEOS {
		t.Error("the caller's requests were changed")
	}
	if Fixed(nil, 3) != nil {
		t.Error("requests out of nothing")
	}
}

func TestPrepare(t *testing.T) {
	p := &deploy.Pipeline{Stages: []deploy.Stage{{Profiler: protocol.ProfilerConfig{Profiler: "torch", WithStack: true,
		DelayIterations: 1, MaxIterations: 2, WaitIterations: 3, WarmupIterations: 4, ActiveIterations: 5}}}}
	Prepare(p)
	if d := cmp.Diff(protocol.ProfilerConfig{Profiler: "torch", WithStack: true, ActiveIterations: 5},
		p.Stages[0].Profiler); d != "" {
		t.Error(d)
	}
}

func TestText(t *testing.T) {
	q := func(m, low, high float64) *Ratio {
		return &Ratio{Median: m, Low: low, High: high, Rounds: 8, WithinNoise: low <= 1 && 1 <= high}
	}
	values := func(off float64, a, b, c *Ratio) []Value {
		return []Value{{"off", off, nil}, {"flight", off, a}, {"armed", off, b}, {"recording", off, c}}
	}
	phase := func(stage string, engine protocol.Engine, name string, n uint64, vs []Value) Phase {
		p := Phase{Stage: stage, Engine: engine, Phase: name}
		for i, v := range vs {
			p.States = append(p.States, Step{n + uint64(i%2), v})
		}
		return p
	}
	r := &Report{States: []string{"off", "flight", "armed", "recording"}, Rounds: 8, Requests: 4, Concurrency: 1,
		Drops: 3,
		Phases: []Phase{
			phase("thinker", "native", "decode_step", 1504, values(2.57e-3, q(0.984, 0.97, 1.01), q(0.993, 0.98, 1),
				q(1.021, 1.01, 1.04))),
			phase("code2wav", "torch", "vocode", 48, values(44.9e-3, q(1, 0.9, 1.1), nil, q(1.97, 1.8, 2.2))),
		},
		Unmeasured: []Unmeasured{{2, "vae", "replica 0: unknown method 'durations'"}},
		Latency:    values(0.633, q(1.01, 0.99, 1.02), q(0.99, 0.98, 1.01), q(1.08, 1.07, 1.1)),
		Throughput: values(1.58, q(0.99, 0.98, 1.01), q(1.01, 0.99, 1.02), q(0.926, 0.91, 0.93)),
	}
	var b bytes.Buffer
	for _, o := range []report.TextOptions{{}, {Width: 80, ASCII: true}} {
		if err := Text(&b, r, "thinker ×2 → code2wav", o); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
	}
	file := filepath.Join("testdata", "text.golden")
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, b.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", file, d)
	}
}
