package profiler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

var (
	testOp  = Intern("test op")
	testKey = Intern("test key")
)

func TestNilAndIdle(t *testing.T) {
	var r *Recorder
	tr := r.Track("x")
	if tr != nil || tr.Enabled() || tr.Name() != "" || r.Recording() || r.Flying() {
		t.Error("a nil Recorder does something")
	}
	tr.If(true).Begin(testOp, CategoryOp).Int(testKey, 1).Shape(Float32, 1).End()
	New(Config{}).Track("x").If(false).Begin(testOp, CategoryOp).End()
	tr.Instant(testOp, CategoryOp).Text(testKey, "x").End()
	tr.AsyncBegin(testOp, CategoryOp, 1).Stack()
	tr.AsyncEnd(testOp, 1)
	tr.Counter(testOp, 1)
	tr.CounterFloat(testOp, 1)
	tr.Alloc(testOp, 1, 1)
	tr.Free(testOp, 1, 1)
	tr.SetName("y")
	tr.Close()
	if err := r.Start(StartOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := r.Stop(); err != nil {
		t.Error(err)
	}
	r = New(Config{})
	if _, err := r.Stop(); !errors.Is(err, ErrIdle) {
		t.Errorf("Stop when idle: %v", err)
	}
	if err := r.Start(StartOptions{}); err == nil {
		t.Error("Start without Out succeeds")
	}
	startInto(t, r)
	if err := r.Start(StartOptions{Out: io.Discard}); !errors.Is(err, ErrRecording) {
		t.Errorf("second Start: %v", err)
	}
	stop(t, r)
}

// Spans that straddle a Start or a Stop disturb nothing.
func TestSpansAcrossRecordings(t *testing.T) {
	r := New(Config{})
	tr := r.Track("track")
	before := tr.Begin(testOp, CategoryOp)
	buf := startInto(t, r)
	inner := tr.Begin(testOp, CategoryOp).Int(testKey, 1)
	before.Int(testKey, 2)
	before.End()
	left := tr.Begin(testOp, CategoryAnnotation).Int(testKey, 3)
	stop(t, r)
	got := decode(t, buf)
	diffLanes(t, map[string]*lane{"track": {slices: []string{
		sliceLine("test op", 1, 1, false, false, []string{"test key=3"}),
		sliceLine("test op", 0, 0, false, false, []string{"test key=1"}),
	}}}, got)

	buf = startInto(t, r)
	left.Int(testKey, 4)
	left.End()
	inner.End()
	tr.Begin(testOp, CategoryOp).End()
	stop(t, r)
	diffLanes(t, map[string]*lane{"track": {slices: []string{sliceLine("test op", 0, 0, true, false, nil)}}},
		decode(t, buf))
}

func TestHeader(t *testing.T) {
	r := New(Config{Process: "stage0 thinker rank 1"})
	meta := map[string]string{"stage": "thinker", "rank": "1", "": "empty key"}
	var buf bytes.Buffer
	before := time.Now()
	if err := r.Start(StartOptions{Out: &buf, WithFLOPs: true, Meta: meta}); err != nil {
		t.Fatal(err)
	}
	tr := r.Track("late")
	tr.SetName("renamed")
	s := tr.Begin(testOp, CategoryOp).FLOPs(5).Shape(Float32, 9).Stack()
	tr.Alloc(testOp, 1, 1)
	s.End()
	stop(t, r)
	after := time.Now()
	got := decode(t, &buf)
	diffLanes(t, map[string]*lane{"renamed": {slices: []string{sliceLine("test op", 0, 0, true, false,
		[]string{"flops=5"})}}}, got)
	h := got.reader.Header()
	if h.Process != "stage0 thinker rank 1" || !h.FLOPs || h.Shapes || h.Memory || h.Stacks || h.Snapshot ||
		fmt.Sprint(h.Meta) != fmt.Sprint(meta) {
		t.Errorf("header %+v", h)
	}
	slack := int64(time.Millisecond)
	if h.Start < before.UnixNano()-slack || got.reader.End().Time > after.UnixNano()+slack ||
		got.reader.End().Time < h.Start {
		t.Errorf("window %d..%d is not within %d..%d", h.Start, got.reader.End().Time, before.UnixNano(),
			after.UnixNano())
	}
	for _, v := range got.times["renamed"] {
		if v.start < h.Start || v.end > got.reader.End().Time {
			t.Errorf("slice %+v is outside the window", v)
		}
	}
}

// The clock of a recording agrees with the wall clock, through chunks that wait long
// and generations of every length.
func TestTimesAgreeWithWallClock(t *testing.T) {
	for _, c := range []Clock{ClockAuto, ClockMonotonic} {
		r := New(Config{Clock: c, FlushEvery: 20 * time.Millisecond})
		tr := r.Track("track")
		buf := startInto(t, r)
		var wall []time.Time
		for range 20 {
			s := tr.Begin(testOp, CategoryOp)
			wall = append(wall, time.Now())
			s.End()
			time.Sleep(3 * time.Millisecond)
		}
		stop(t, r)
		got := decode(t, buf)
		worst := time.Duration(0)
		for i, v := range got.times["track"] {
			worst = max(worst, time.Duration(v.start-wall[i].UnixNano()).Abs())
		}
		if worst > 2*time.Millisecond {
			t.Errorf("%v: times are %v off the wall clock", c, worst)
		}
		t.Logf("%v: within %v", got.reader.Header().Clock, worst)
	}
}

func TestDepthLimit(t *testing.T) {
	r := New(Config{ChunkBytes: minChunkBytes})
	tr := r.Track("deep")
	buf := startInto(t, r)
	var spans []Span
	for range format.MaxDepth + 10 {
		spans = append(spans, tr.Begin(testOp, CategoryOp))
	}
	for i := len(spans) - 1; i >= 0; i-- {
		spans[i].End()
	}
	st := stop(t, r)
	got := decode(t, buf)
	if n := len(got.lanes["deep"].slices); n != format.MaxDepth || st.Drops != 10 {
		t.Errorf("%d slices, %d drops", n, st.Drops)
	}
}

func TestTextIsCutAtARune(t *testing.T) {
	r := New(Config{})
	tr := r.Track("track")
	buf := startInto(t, r)
	tr.Begin(testOp, CategoryOp).Text(testKey, "x"+strings.Repeat("é", format.MaxText)).End()
	st := stop(t, r)
	want := fmt.Sprintf("test key=%q", "x"+strings.Repeat("é", format.MaxText/2-1))
	diffLanes(t, map[string]*lane{"track": {slices: []string{sliceLine("test op", 0, 0, true, false, []string{want})}}},
		decode(t, buf))
	if st.Truncated != 1 {
		t.Errorf("%+v", st)
	}
}

func TestStack(t *testing.T) {
	r := New(Config{})
	tr := r.Track("track")
	buf := startInto(t, r)
	for range 3 {
		tr.Begin(testOp, CategoryOp).Stack().End()
	}
	stop(t, r)
	rd, err := format.NewReader(buf)
	if err != nil {
		t.Fatal(err)
	}
	g, err := rd.Next()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		a := g.SliceAttrs(i)
		if len(a) != 1 || a[0].Kind != format.AttrStack {
			t.Fatalf("arguments %+v", a)
		}
		f := rd.Stack(a[0].Int)
		if len(f) == 0 || !strings.HasSuffix(rd.String(f[0].Func), "TestStack") ||
			!strings.HasSuffix(rd.String(f[0].File), "recorder_test.go") || f[0].Line == 0 {
			t.Errorf("stack %+v", f)
		}
	}
}

// gate is an Out that blocks until it is opened.
type gate struct {
	open chan struct{}
	bytes.Buffer
}

func (g *gate) Write(b []byte) (int, error) {
	<-g.open
	return g.Buffer.Write(b)
}

// With an Out that hangs, recording goes on without waiting, memory stays within its
// bound, and each span is either recorded whole or counted as dropped.
func TestSlowOutDropsWholeSpans(t *testing.T) {
	const maxBytes = 256 << 10
	r := New(Config{MaxBytes: maxBytes, MaxTrackBytes: maxBytes, ChunkBytes: minChunkBytes,
		FlushEvery: time.Millisecond})
	g := &gate{open: make(chan struct{})}
	if err := r.Start(StartOptions{Out: g}); err != nil {
		t.Fatal(err)
	}
	const goroutines, spans = 4, 40_000
	var wg sync.WaitGroup
	for i := range goroutines {
		tr := r.Track(fmt.Sprint("track ", i))
		wg.Go(func() {
			for range spans {
				outer := tr.Begin(testOp, CategoryAnnotation)
				tr.Begin(testOp, CategoryOp).End()
				outer.End()
			}
		})
	}
	wg.Wait() // would hang if recording waited for Out
	if n := r.eng.pool.allocated.Load() * minChunkBytes; n > maxBytes {
		t.Errorf("%d bytes of chunks, the limit is %d", n, maxBytes)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r2 := New(Config{})
	if err := r2.Start(StartOptions{Out: &gate{open: g.open}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r2.StopContext(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("StopContext with a hanging Out: %v", err)
	}
	if r2.Recording() {
		t.Error("still recording")
	}
	go func() { close(g.open) }()
	st := stop(t, r)
	if st.Drops == 0 || len(st.PerTrack) == 0 {
		t.Fatalf("nothing dropped: %+v", st)
	}
	if st.Events+st.Drops != goroutines*spans*2 {
		t.Errorf("%d recorded and %d dropped are not %d", st.Events, st.Drops, goroutines*spans*2)
	}
}

func TestDropsAreInTheRecording(t *testing.T) {
	r := New(Config{MaxBytes: 1, ChunkBytes: minChunkBytes, FlushEvery: time.Hour})
	tr := r.Track("full")
	buf := startInto(t, r)
	const spans = 5000
	for range spans {
		tr.Begin(testOp, CategoryOp).End()
	}
	st := stop(t, r)
	got := decode(t, buf)
	l := got.lanes["full"]
	if st.Drops == 0 || uint64(len(l.slices))+st.Drops != spans {
		t.Errorf("%d slices and %d drops are not %d", len(l.slices), st.Drops, spans)
	}
	if got.reader.Tracks()[0].Drops != st.Drops || got.reader.End().Drops != st.Drops ||
		st.PerTrack[0] != (TrackStats{"full", st.Drops}) {
		t.Errorf("recording says %+v and %+v, stats %+v", got.reader.Tracks()[0], got.reader.End(), st)
	}
	for _, s := range l.slices {
		if !strings.Contains(s, "fin=true") {
			t.Fatalf("half a span: %s", s)
		}
	}
}

type brokenWriter struct{ left int }

var errBroken = errors.New("disk full")

func (b *brokenWriter) Write(p []byte) (int, error) {
	if len(p) > b.left {
		return b.left, errBroken
	}
	b.left -= len(p)
	return len(p), nil
}

func TestBrokenOut(t *testing.T) {
	r := New(Config{GenerationBytes: 100})
	tr := r.Track("track")
	if err := r.Start(StartOptions{Out: &brokenWriter{left: 500}}); err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		tr.Begin(testOp, CategoryOp).End()
	}
	if _, err := r.Stop(); !errors.Is(err, errBroken) {
		t.Errorf("Stop: %v", err)
	}
	buf := startInto(t, r)
	tr.Begin(testOp, CategoryOp).End()
	stop(t, r)
	if n := len(decode(t, buf).lanes["track"].slices); n != 1 {
		t.Errorf("after a broken recording %d slices", n)
	}
}

// Lanes that come and go give their memory back.
func TestManyShortTracks(t *testing.T) {
	r := New(Config{MaxBytes: 4 << 20, ChunkBytes: minChunkBytes, FlushEvery: time.Millisecond})
	buf := startInto(t, r)
	const tracks = 3000
	var wg sync.WaitGroup
	sem := make(chan struct{}, 8)
	for i := range tracks {
		sem <- struct{}{}
		wg.Go(func() {
			tr := r.Track(fmt.Sprint("request ", i))
			tr.Begin(testOp, CategoryAnnotation) // Close ends it
			tr.Begin(testOp, CategoryOp).End()
			tr.Close()
			<-sem
		})
		if i%20 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	wg.Wait()
	st := stop(t, r)
	if len(r.tracks) != 0 {
		t.Errorf("%d tracks are left", len(r.tracks))
	}
	got := decode(t, buf)
	n := 0
	for _, l := range got.lanes {
		n += len(l.slices)
	}
	if uint64(n)+st.Drops < 2*tracks || st.Drops > tracks/10 {
		t.Errorf("%d slices, %d drops of %d", n, st.Drops, 2*tracks)
	}
}

func TestNoAllocations(t *testing.T) {
	r := New(Config{})
	tr := r.Track("track")
	all := func() {
		s := tr.Begin(testOp, CategoryOp).Shape(Float32, 8, 512).Shape(BFloat16, 512, 512)
		s.FLOPs(1<<40).Bytes(1<<20).Int(testKey, 1).Str(testKey, testOp).Text(testKey, "request").Float(testKey,
			1).FlowOut(1).FlowIn(2).Stack()
		tr.Begin(testOp, CategoryAnnotation).End()
		s.End()
		tr.Counter(testOp, 1)
		tr.CounterFloat(testOp, 1)
		tr.Alloc(testOp, 1, 2)
		tr.Free(testOp, 1, 2)
		tr.Instant(testOp, CategoryOp)
		tr.AsyncBegin(testOp, CategoryOp, 1)
		tr.AsyncEnd(testOp, 1)
	}
	if n := testing.AllocsPerRun(1000, all); n != 0 {
		t.Errorf("off: %v allocations", n)
	}
	o := everything
	o.Out = io.Discard
	if err := r.Start(o); err != nil {
		t.Fatal(err)
	}
	all()
	if n := testing.AllocsPerRun(1000, all); n != 0 {
		t.Errorf("on: %v allocations", n)
	}
	stop(t, r)
}

// Stop takes about the same time however much was recorded.
func TestStopIsQuick(t *testing.T) {
	r := New(Config{})
	tr := r.Track("track")
	if err := r.Start(StartOptions{Out: io.Discard}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 3_000_000 {
		tr.Begin(testOp, CategoryOp).End()
	}
	recorded := time.Since(began)
	began = time.Now()
	st := stop(t, r)
	took := time.Since(began)
	t.Logf("recorded for %v (%d events, %d drops), stopped in %v", recorded, st.Events, st.Drops, took)
	if took > recorded && took > time.Second {
		t.Errorf("stopping took %v after %v of recording", took, recorded)
	}
}

func TestIntern(t *testing.T) {
	a, b := Intern("same text"), Intern("same "+"text")
	if a != b || a.String() != "same text" || Name(1<<31).String() != "" || Intern("") != 0 {
		t.Error("interning is broken")
	}
	long := strings.Repeat("x", format.MaxString+5)
	if again := Intern(strings.Clone(long)); again != Intern(long) || len(Intern(long).String()) != format.MaxString {
		t.Error("long texts do not have one name")
	}
}

// A name that Intern never gave must not make a recording unreadable.
func TestForeignName(t *testing.T) {
	r := New(Config{})
	tr := r.Track("track")
	buf := startInto(t, r)
	tr.Begin(Name(1<<31), Category(200)).Str(Name(1<<30), Name(1<<29)).End()
	tr.Begin(Name(900_000), CategoryOp).End()
	stop(t, r)
	got := decode(t, buf)
	if got.err != nil || len(got.lanes["track"].slices) != 2 {
		t.Errorf("%v %+v", got.err, got.lanes["track"])
	}
}

// A track that two goroutines used at once loses its recording, nothing else.
func TestGarbledTrack(t *testing.T) {
	for _, garbage := range [][]byte{{0xff, 0xff}, {byte(format.TypeEnd), 1, byte(format.TypeEnd), 1},
		{byte(format.TypeUnwind), 1, 9}, {byte(format.TypeTarget), 5}} {
		r := New(Config{FlushEvery: time.Hour})
		bad, good := r.Track("bad"), r.Track("good")
		buf := startInto(t, r)
		bad.Begin(testOp, CategoryOp)
		w := bad.live.Load()
		w.commit(w.pos + copy(w.buf[w.pos:], garbage))
		bad.Begin(testOp, CategoryOp)
		good.Begin(testOp, CategoryOp).End()
		st := stop(t, r)
		got := decode(t, buf)
		if got.err != nil || len(got.lanes["good"].slices) != 1 || len(got.lanes["bad"].slices) != 1 || st.Drops == 0 {
			t.Errorf("% x: %v, %+v, %+v", garbage, got.err, got.lanes["bad"], st)
		}
	}
}
