package profiler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

func TestFlightRecorder(t *testing.T) {
	r := New(Config{})
	tr := r.Track("track")
	if _, err := r.Snapshot(&bytes.Buffer{}, 0); !errors.Is(err, ErrIdle) {
		t.Errorf("Snapshot without a flight recorder: %v", err)
	}
	if err := r.FlightStart(FlightOptions{RecordShapes: true, Meta: map[string]string{"rank": "3"}}); err != nil {
		t.Fatal(err)
	}
	if err := r.FlightStart(FlightOptions{}); !errors.Is(err, ErrRecording) {
		t.Errorf("second FlightStart: %v", err)
	}
	outer := tr.Begin(testOp, CategoryAnnotation).Int(testKey, 1)
	tr.Begin(testOp, CategoryOp).Shape(Float32, 4).End()

	var first bytes.Buffer
	if _, err := r.Snapshot(&first, 0); err != nil {
		t.Fatal(err)
	}
	inner := sliceLine("test op", 0, 1, true, false, []string{"shape=1[4]"})
	got := decode(t, &first)
	diffLanes(t, map[string]*lane{"track": {slices: []string{inner,
		sliceLine("test op", 1, 0, false, false, []string{"test key=1"})}}}, got)
	if h := got.reader.Header(); !h.Snapshot || h.Meta["rank"] != "3" || got.reader.End().Reason != "snapshot" {
		t.Errorf("header %+v, end %+v", h, got.reader.End())
	}

	// A recording beside it has the open span, as begun before the window.
	if r.Recording() || !r.Flying() {
		t.Error("the flight recorder alone is no recording")
	}
	buf := startInto(t, r)
	tr.Begin(testKey, CategoryOp).End()
	outer.End()
	st := stop(t, r)
	if st.Events != 1 {
		t.Errorf("stats %+v", st)
	}
	rec := decode(t, buf)
	diffLanes(t, map[string]*lane{"track": {slices: []string{
		sliceLine("test key", 0, 1, true, false, nil),
		sliceLine("test op", 1, 0, true, false, nil),
	}}}, rec)
	if v := rec.times["track"][1]; v.start >= rec.reader.Header().Start {
		t.Error("the span that was open does not begin before the window")
	}

	// And the flight recorder has seen everything.
	tr.Instant(testOp, CategoryOp)
	var second bytes.Buffer
	if _, err := r.Snapshot(&second, time.Minute); err != nil {
		t.Fatal(err)
	}
	diffLanes(t, map[string]*lane{"track": {
		slices: []string{inner, sliceLine("test key", 0, 1, true, false, nil),
			sliceLine("test op", 1, 0, true, false, []string{"test key=1"})},
		instants: []string{"instant test op cat=0 "},
	}}, decode(t, &second))
	if err := r.FlightStop(); err != nil {
		t.Fatal(err)
	}
	if err := r.FlightStop(); !errors.Is(err, ErrIdle) {
		t.Errorf("second FlightStop: %v", err)
	}
	if tr.Enabled() {
		t.Error("still recording")
	}
}

// The flight recorder keeps the newest within its budget; a snapshot is a recording that
// begins in the middle, and it is complete from its first generation on.
func TestFlightBudget(t *testing.T) {
	const budget = 64 << 10
	r := New(Config{ChunkBytes: minChunkBytes, GenerationBytes: 4 << 10})
	tr := r.Track("track")
	if err := r.FlightStart(FlightOptions{Bytes: budget}); err != nil {
		t.Fatal(err)
	}
	root := tr.Begin(testOp, CategoryAnnotation)
	var n int64
	for r.eng.sealedSeq() < 100 {
		for range 1000 {
			tr.Begin(testKey, CategoryOp).Int(testKey, n).End()
			n++
		}
	}
	var buf bytes.Buffer
	st, err := r.Snapshot(&buf, 0)
	if err != nil {
		t.Fatal(err)
	}
	if st.Bytes > budget+8<<10 {
		t.Errorf("snapshot of %d bytes, the budget is %d", st.Bytes, budget)
	}
	root.End()
	if err := r.FlightStop(); err != nil {
		t.Fatal(err)
	}
	got := decode(t, &buf)
	if got.err != nil {
		t.Fatal(got.err)
	}
	l := got.lanes["track"].slices
	last := l[len(l)-1]
	if last != sliceLine("test op", 1, 0, false, false, nil) {
		t.Errorf("the root span is %q", last)
	}
	if want := sliceLine("test key", 0, 1, true, false,
		[]string{fmt.Sprintf("test key=%d", n-1)}); l[len(l)-2] != want {
		t.Errorf("the newest slice is %q, not %q", l[len(l)-2], want)
	}
	for i, s := range l[:len(l)-1] {
		want := sliceLine("test key", 0, 1, true, false, []string{fmt.Sprintf("test key=%d", n-int64(len(l)-1-i))})
		// The first generation can begin between a span's beginning and its argument,
		// never lose one that it has begun itself.
		if s != want {
			t.Fatalf("slice %d is %q, not %q", i, s, want)
		}
	}
}

// sealedSeq returns how many generations there have been.
func (e *engine) sealedSeq() (n uint64) {
	e.do(func() { n = e.seq })
	return n
}

// Snapshots, recordings and tracks at the same time.
func TestFlightUnderLoad(t *testing.T) {
	r := New(Config{FlushEvery: 2 * time.Millisecond, ChunkBytes: minChunkBytes})
	if err := r.FlightStart(FlightOptions{Bytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	var quit atomic.Bool
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			for i := 0; !quit.Load(); i++ {
				a := newActor(uint64(g*1000+i), r.Track(fmt.Sprintf("track %d", g)))
				for range 500 {
					a.step()
				}
				a.track.Close()
			}
		})
	}
	for i := range 20 {
		var snap bytes.Buffer
		buf := startInto(t, r)
		if _, err := r.Snapshot(&snap, time.Duration(i)*time.Millisecond); err != nil {
			t.Error(err)
		}
		stop(t, r)
		for _, b := range []*bytes.Buffer{&snap, buf} {
			rd, err := format.NewReader(b)
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = rd.Next()
			}
			if rd.Cut() != nil {
				t.Errorf("%+v", rd.Cut())
			}
		}
	}
	quit.Store(true)
	wg.Wait()
	if err := r.FlightStop(); err != nil {
		t.Fatal(err)
	}
}

func flyingDumper(t *testing.T) *Dumper {
	r := New(Config{})
	if err := r.FlightStart(FlightOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.FlightStop(); err != nil {
			t.Error(err)
		}
	})
	r.Track("track").Begin(testOp, CategoryOp).End()
	return &Dumper{Recorder: r, Dir: t.TempDir(), Slow: time.Second, Interval: time.Hour}
}

func dumps(t *testing.T, d *Dumper) []string {
	t.Helper()
	files, err := os.ReadDir(d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") {
			continue
		}
		names = append(names, f.Name())
		b, err := os.ReadFile(filepath.Join(d.Dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(decode(t, bytes.NewReader(b)).lanes["track"].slices); n != 1 {
			t.Errorf("%s has %d slices", f.Name(), n)
		}
	}
	return names
}

func TestDumperRequest(t *testing.T) {
	d := flyingDumper(t)
	d.Request(time.Millisecond, false)
	if n := dumps(t, d); len(n) != 0 {
		t.Errorf("a quick request left %v", n)
	}
	d.Request(2*time.Second, false)
	d.Request(2*time.Second, true)
	if n := dumps(t, d); len(n) != 1 || !strings.Contains(n[0], "slow-request") {
		t.Errorf("two slow requests within the interval left %v", n)
	}
	if _, err := d.Dump("by hand/../x"); err != nil {
		t.Error(err)
	}
	if n := dumps(t, d); len(n) != 2 {
		t.Errorf("files %v", n)
	}
	d.MaxFiles = 2
	if _, err := d.Dump("too many"); !errors.Is(err, ErrDumpLimited) {
		t.Errorf("third dump: %v", err)
	}
}

func TestDumperPanic(t *testing.T) {
	d := flyingDumper(t)
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("recovered %v", p)
			}
		}()
		defer d.OnPanic()
		panic("boom")
	}()
	if n := dumps(t, d); len(n) != 1 || !strings.Contains(n[0], "panic") {
		t.Errorf("files %v", n)
	}
}

func TestDumperSignal(t *testing.T) {
	d := flyingDumper(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { d.OnSignal(ctx, syscall.SIGUSR1) })
	deadline := time.After(10 * time.Second)
	// Until OnSignal listens the signal is ignored by this channel's presence alone.
	hold := holdSignal(t)
	defer hold()
	for len(dumps(t, d)) == 0 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatal("no dump after a signal")
		case <-time.After(5 * time.Millisecond):
		}
	}
	cancel()
	wg.Wait()
	if n := dumps(t, d); !strings.Contains(n[0], "signal-user_defined_signal_1") {
		t.Errorf("files %v", n)
	}
}
