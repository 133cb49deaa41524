package load

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe answers each request with its prompt.
type pipe struct {
	now, most, all atomic.Int64
	fail           string        // a prompt that fails
	held           chan struct{} // non-nil: a request tells it and waits for its context
}

func (p *pipe) Generate(ctx context.Context, r omni.Request) iter.Seq2[omni.Output, error] {
	return func(yield func(omni.Output, error) bool) {
		p.all.Add(1)
		n := p.now.Add(1)
		defer p.now.Add(-1)
		for most := p.most.Load(); n > most && !p.most.CompareAndSwap(most, n); most = p.most.Load() {
		}
		if p.held != nil {
			p.held <- struct{}{}
			<-ctx.Done()
			yield(omni.Output{}, ctx.Err())
			return
		}
		text := r.Messages[0].Content
		if text == p.fail {
			yield(omni.Output{}, errors.New("broken"))
			return
		}
		yield(omni.Output{Type: "text", Text: text, Finished: true}, nil)
	}
}

func prompts(n int) []omni.Request {
	out := make([]omni.Request, n)
	for i := range out {
		out[i].Messages = []omni.Message{{Role: "user", Content: fmt.Sprint("prompt", i)}}
	}
	return out
}

func TestEachOnce(t *testing.T) {
	p := &pipe{fail: "prompt3"}
	var told atomic.Int64
	res := Drive(t.Context(), p, Options{Requests: prompts(10), Concurrency: 4, Done: func(int) { told.Add(1) }})
	if res.Sent != 10 || res.Failed != 1 || res.Err == nil || res.Err.Error() != "prompt 4: broken" ||
		told.Load() != 9 {
		t.Errorf("%+v, told of %d", res, told.Load())
	}
	if p.most.Load() > 4 || p.all.Load() != 10 {
		t.Errorf("%d at once, %d in all", p.most.Load(), p.all.Load())
	}
}

func TestEndlessUntilStopped(t *testing.T) {
	stop := make(chan struct{})
	var closed atomic.Bool
	res := Drive(t.Context(), &pipe{}, Options{Requests: prompts(3), Concurrency: 2, Endless: true, Stop: stop,
		Done: func(done int) {
			if done >= 20 && closed.CompareAndSwap(false, true) {
				close(stop)
			}
		}})
	if res.Sent < 20 || res.Failed != 0 || res.Err != nil {
		t.Errorf("%+v", res)
	}
	res = Drive(t.Context(), &pipe{fail: "prompt1"}, Options{Requests: prompts(3), Concurrency: 2, Endless: true,
		Stop: make(chan struct{})})
	if res.Failed == 0 || res.Err == nil {
		t.Errorf("a load that fails went on: %+v", res)
	}
}

func TestWhatIsUnderWayAtTheEnd(t *testing.T) {
	for name, byStop := range map[string]bool{"stop": true, "interrupt": false} {
		p := &pipe{held: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		stop := make(chan struct{})
		go func() {
			<-p.held
			<-p.held
			if byStop {
				close(stop)
			} else {
				cancel()
			}
		}()
		res := Drive(ctx, p, Options{Requests: prompts(2), Concurrency: 2, Endless: true, Stop: stop})
		cancel()
		want := Result{}
		if !byStop {
			want = Result{Sent: 2, Failed: 2}
		}
		if res != want {
			t.Errorf("%s: %+v, want %+v", name, res, want)
		}
	}
}

func TestRead(t *testing.T) {
	got, err := Read("p",
		strings.NewReader("\n hello \n{\"prompt\":\"a horse\",\"n\":2,\"size\":\"64x32\",\"seed\":7}\n"))
	if err != nil || len(got) != 2 || got[0].Messages[0].Content != "hello" {
		t.Fatalf("%+v, %v", got, err)
	}
	if im := got[1].Image; im.N != 2 || im.Width != 64 || im.Height != 32 || *im.Seed != 7 ||
		*got[1].Sampling.Seed != 7 {
		t.Errorf("%+v", got[1])
	}
	for text, want := range map[string]string{
		"":                               "p: no prompts",
		"ok\n{\"promt\":\"a\"}":          `p:2: json: unknown field "promt"`,
		"{\"prompt\":\"a\"":              "p:1: unexpected EOF",
		`{"prompt":"a","size":"big"}`:    `p:1: size "big": write WIDTHxHEIGHT`,
		strings.Repeat("x", 2*(1<<20)):   "token too long",
		`{"prompt":"a","max_tokens":""}`: "p:1: json: cannot unmarshal",
	} {
		if _, err := Read("p", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestDefault(t *testing.T) {
	text, image := Default([]omni.StageInfo{{Output: "text"}}), Default([]omni.StageInfo{{}, {Output: "image"}})
	if len(text) == 0 || text[0].Image.N != 0 || len(image) == 0 || image[0].Image.N != 2 {
		t.Errorf("%+v, %+v", text, image)
	}
}

func TestOutputs(t *testing.T) {
	var o Outputs
	res := Drive(t.Context(), &pipe{}, Options{Requests: prompts(2), Concurrency: 1, Outputs: &o})
	o.add(0, omni.Output{PCM: []int16{1, 2}, SampleRate: 8000})
	o.add(1, omni.Output{Images: [][]byte{{1}, {2}}})
	o.add(maxKept, omni.Output{Text: "one too many"})
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	run, err := s.Create(time.Now(), "", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	arts, err := o.Attach(run)
	if err != nil || len(arts) != 5 {
		t.Fatalf("%+v, %v", arts, err)
	}
	if data, err := os.ReadFile(filepath.Join(run.Dir(), "outputs", "request01.txt")); err != nil ||
		string(data) != "prompt1\n" {
		t.Errorf("%q, %v", data, err)
	}
	if p := Paths(&session.Status{RunDir: run.Dir(), Artifacts: arts}); len(p) != 5 ||
		!strings.HasSuffix(p[0], "request00.txt") {
		t.Errorf("%v", p)
	}
}
