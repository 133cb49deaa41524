package profiler

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var everything = StartOptions{RecordShapes: true, WithStack: true, WithFLOPs: true, WithMemory: true}

func startInto(tb testing.TB, r *Recorder) *bytes.Buffer {
	tb.Helper()
	var buf bytes.Buffer
	o := everything
	o.Out = &buf
	if err := r.Start(o); err != nil {
		tb.Fatal(err)
	}
	return &buf
}

func stop(tb testing.TB, r *Recorder) Stats {
	tb.Helper()
	st, err := r.Stop()
	if err != nil {
		tb.Fatal(err)
	}
	return st
}

func diffLanes(tb testing.TB, want map[string]*lane, got *decoded) {
	tb.Helper()
	if got.err != nil {
		tb.Fatal(got.err)
	}
	for n, w := range want {
		g := got.lanes[n]
		if g == nil {
			g = &lane{}
		}
		if d := cmp.Diff(w, g, cmp.AllowUnexported(lane{})); d != "" {
			tb.Fatalf("track %s (-did +recorded):\n%s", n, d[:min(len(d), 3000)])
		}
	}
}

// A random program on many goroutines comes back exactly, whatever the sizes of chunks
// and generations, with open spans at the end.
func TestTruth(t *testing.T) {
	for i, c := range []Config{
		{},
		{GenerationBytes: 1, ChunkBytes: minChunkBytes},
		{GenerationBytes: 1, FlushEvery: time.Millisecond},
		{GenerationBytes: 700, ChunkBytes: 5000, FlushEvery: 3 * time.Millisecond},
		{Clock: ClockMonotonic, FlushEvery: 2 * time.Millisecond},
		{GenerationBytes: 1 << 20, ChunkBytes: 1 << 20},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			r := New(c)
			const goroutines, steps = 8, 6000
			var mu sync.Mutex
			want := map[string]*lane{}
			buf := startInto(t, r)
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					name := fmt.Sprint("track ", g)
					a := newActor(uint64(i*100+g), r.Track(name))
					for range steps {
						a.step()
					}
					if g%2 == 0 {
						a.track.Close()
						if len(a.stack) > 0 {
							a.closeTo(0, true)
						}
						a.flushPoint()
					} else {
						a.closeTo(0, false)
					}
					mu.Lock()
					want[name] = &a.want
					mu.Unlock()
				})
			}
			wg.Wait()
			st := stop(t, r)
			if st.Drops != 0 || st.Bytes != uint64(buf.Len()) {
				t.Errorf("stats %+v, %d bytes written", st, buf.Len())
			}
			events := 0
			for _, l := range want {
				events += len(l.slices) + len(l.instants) + len(l.asyncs) + len(l.counters) + len(l.memory)
			}
			if st.Events != uint64(events) {
				t.Errorf("stats say %d events, the program did %d", st.Events, events)
			}
			got := decode(t, buf)
			diffLanes(t, want, got)
			if got.reader.Cut() != nil || got.reader.End().Events != st.Events || got.reader.Orphans() != 0 {
				t.Errorf("cut %v, end %+v, orphans %d", got.reader.Cut(), got.reader.End(), got.reader.Orphans())
			}
			checkNesting(t, got)
		})
	}
}

// checkNesting compares self times by the recorded depths with those by a sweep over
// begins and ends that knows no depth.
func checkNesting(t *testing.T, d *decoded) {
	t.Helper()
	for name, ivs := range d.times {
		byDepth := selfByDepth(ivs)
		bySweep := selfBySweep(ivs)
		var total int64
		for i := range ivs {
			total += byDepth[i]
		}
		var sweep int64
		for _, v := range bySweep {
			sweep += v
		}
		if total != sweep {
			t.Errorf("track %s: self times sum to %d by depth, %d by sweep", name, total, sweep)
		}
		for i, v := range byDepth {
			if v < 0 {
				t.Errorf("track %s: slice %d has self time %d: a child sticks out", name, i, v)
			}
		}
	}
}

// selfByDepth uses that slices come in end order: the slices one deeper since the last
// slice at this depth or above are its children.
func selfByDepth(ivs []interval) []int64 {
	self := make([]int64, len(ivs))
	var children []int64 // summed duration of finished slices a depth
	for i, v := range ivs {
		for int64(len(children)) <= v.depth+1 {
			children = append(children, 0)
		}
		self[i] = v.end - v.start - children[v.depth+1]
		children[v.depth+1] = 0
		children[v.depth] += v.end - v.start
	}
	return self
}

// selfBySweep returns how long each nesting level was the innermost one.
func selfBySweep(ivs []interval) map[int]int64 {
	type edge struct {
		at   int64
		open int
	}
	var edges []edge
	for _, v := range ivs {
		edges = append(edges, edge{v.start, 1}, edge{v.end, -1})
	}
	slices.SortStableFunc(edges, func(a, b edge) int { return int(a.at - b.at) })
	self := map[int]int64{}
	level, last := 0, int64(0)
	for _, e := range edges {
		if level > 0 {
			self[level] += e.at - last
		}
		level += e.open
		last = e.at
	}
	return self
}

// Stop may come at any moment: each track's recording is then the beginning of what it
// did, with all that was done before Stop was called.
func TestStopWhileRecording(t *testing.T) {
	for seed := range 20 {
		r := New(Config{GenerationBytes: 1 + seed*400, ChunkBytes: minChunkBytes << (seed % 4)})
		const goroutines = 4
		actors := make([]*actor, goroutines)
		var before [goroutines]atomic.Int64 // slices ended, as known to others
		var quit atomic.Bool
		for g := range actors {
			actors[g] = newActor(uint64(seed*10+g), r.Track(fmt.Sprint("track ", g)))
		}
		buf := startInto(t, r)
		var wg sync.WaitGroup
		for g, a := range actors {
			wg.Go(func() {
				for !quit.Load() && a.steps < 200_000 {
					a.step()
					before[g].Store(int64(len(a.want.slices)))
				}
			})
		}
		for before[seed%goroutines].Load() < int64(100+seed*20) && actorsRun(&before) {
			time.Sleep(50 * time.Microsecond)
		}
		var known [goroutines]int64
		for g := range known {
			known[g] = before[g].Load()
		}
		st := stop(t, r)
		quit.Store(true)
		wg.Wait()
		if st.Drops > 0 {
			continue // a slow machine; what is dropped is tested elsewhere
		}
		got := decode(t, buf)
		if got.err != nil {
			t.Fatal(got.err)
		}
		for g, a := range actors {
			l := got.lanes[fmt.Sprint("track ", g)]
			if l == nil {
				l = &lane{}
			}
			n := 0
			for n < len(l.slices) && n < len(a.want.slices) && l.slices[n] == a.want.slices[n] {
				n++
			}
			if int64(n) < known[g] {
				t.Errorf("seed %d track %d: %d slices as done, but %d had ended before Stop", seed, g, n, known[g])
			}
			for _, s := range l.slices[n:] {
				if !bytes.Contains([]byte(s), []byte("fin=false")) {
					t.Errorf("seed %d track %d: after the common beginning a finished slice %q", seed, g, s)
					break
				}
			}
		}
	}
}

func actorsRun(before *[4]atomic.Int64) bool { return before[0].Load() < 50_000 }

// A recording cut at any byte gives the beginning of what the whole gives.
func TestKilledAtAnyByte(t *testing.T) {
	r := New(Config{GenerationBytes: 400, ChunkBytes: minChunkBytes})
	a := newActor(3, r.Track("track"))
	buf := startInto(t, r)
	for range 4000 {
		a.step()
	}
	a.closeTo(0, false)
	stop(t, r)
	file := buf.Bytes()
	whole := decode(t, bytes.NewReader(file))
	diffLanes(t, map[string]*lane{"track": &a.want}, whole)
	if whole.generations < 20 {
		t.Fatalf("only %d generations in %d bytes", whole.generations, len(file))
	}
	head := len(format.Magic) + 5 + int(binary.LittleEndian.Uint32(file[len(format.Magic)+1:])) + 4
	rng := rand.New(rand.NewPCG(1, 2))
	cuts := []int{head, head + 1, len(file) - 1}
	for range 300 {
		cuts = append(cuts, head+rng.IntN(len(file)-head))
	}
	for _, n := range cuts {
		part := decode(t, bytes.NewReader(file[:n]))
		if part.err != nil {
			t.Fatalf("cut at %d: %v", n, part.err)
		}
		c := part.reader.Cut()
		if c == nil || c.Offset > int64(n) || c.Offset+c.Bytes != int64(n) {
			t.Fatalf("cut at %d: reader says %+v", n, c)
		}
		l := part.lanes["track"]
		if l == nil {
			continue
		}
		same := 0
		for same < len(l.slices) && l.slices[same] == whole.lanes["track"].slices[same] {
			same++
		}
		for _, s := range l.slices[same:] {
			if !bytes.Contains([]byte(s), []byte("fin=false")) {
				t.Fatalf("cut at %d: finished slice %q is not in the whole", n, s)
			}
		}
		if l.counters != nil && !slices.Equal(l.counters, whole.lanes["track"].counters[:len(l.counters)]) {
			t.Fatalf("cut at %d: counters differ", n)
		}
	}
}
