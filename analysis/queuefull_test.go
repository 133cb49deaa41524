package analysis

import (
	"fmt"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/trace"
)

// fill launches n kernels of 50 us on stream 7 from one thread, 5 us a call. A call that
// makes the queue room long waits until a kernel begins; a room of 0 has no end.
func fill(m *maker, n, room int) {
	const call, kernel = 5.0, 50.0
	var starts []float64
	now, free := 0.0, 0.0
	for k := range n {
		end := now + call
		if room > 0 && k >= room-1 {
			end = max(end, starts[k-room+1]+1)
		}
		start := max(end, free)
		m.corr++
		h := m.slice(m.host, trace.CatCUDARuntime, "cudaLaunchKernel", now, end-now, "")
		d := m.slice(m.s7, trace.CatKernel, "k", start, kernel, `{"stream": 7}`)
		m.tr.Slices.Corr[h], m.tr.Slices.Corr[d] = m.corr, m.corr
		starts = append(starts, start)
		now, free = end, start+kernel
	}
}

func TestFullQueue(t *testing.T) {
	for _, c := range []struct {
		name           string
		n, room        int
		from           int  // FullLength
		full, htasFull bool // whether ours and HTA's definition see it
		// From the call that first makes it as long as FullLength until it is shorter again. Call k begins at 5k µs
		// before any waits, kernel j at 5+50j µs: with a room of 1021 call 1129 makes the queue 1017 long, and after
		// the last launch kernel 1983 leaves it with 1016.
		ns int64
	}{
		{"stalls below the limit", 3000, 1021, 1017, true, false, (5 + 50*1983 - 5*1129) * 1000},
		{"stalls at the limit", 3000, 1024, 1020, true, true, (5 + 50*1980 - 5*1133) * 1000},
		{"stalls at the least", 3000, 992, 988, true, false, (5 + 50*2012 - 5*1097) * 1000},
		{"at one less", 3000, 991, 0, false, false, 0},
		{"at the most", 3000, 1056, 1052, true, true, (5 + 50*1948 - 5*1168) * 1000},
		{"at one more", 3000, 1057, 0, false, true, 0},
		{"short and never blocks", 330, 0, 0, false, false, 0},
		{"blocks at a bound of the program's own", 3000, 300, 0, false, false, 0},
		{"as long as a full one, never blocks", 1130, 0, 0, false, false, 0},
		{"longer than a full one, never blocks", 3000, 0, 0, false, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMaker()
			fill(m, c.n, c.room)
			q := QueueLength(m.tr, Options{}).Streams[0]
			want(t, "full from", q.FullLength, c.from)
			want(t, "full", q.BlockedNs > 0, c.full)
			if c.full {
				want(t, "full for", q.BlockedNs, c.ns)
			}
			hta, _ := q.Blocked(FullQueueLength)
			want(t, "HTA's full", hta > 0, c.htasFull)
			h := QueueLength(m.tr, Options{HTA: true, HTAAllSteps: true}).Streams[0]
			want(t, "HTA's length", h.FullLength, FullQueueLength)
			want(t, "HTA's time", h.BlockedNs > 0, c.htasFull)
		})
	}
}

func TestFullQueueSlowCall(t *testing.T) {
	// A call at the top that is slow for another reason lets the queue drain.
	m := newMaker()
	fill(m, 1130, 0)
	most := QueueLength(m.tr, Options{}).Streams[0]
	if most.ByTime.Max < FullQueueLength-fullNear || most.ByTime.Max > FullQueueLength {
		t.Fatalf("the queue is %v long: not near enough to the limit to be mistaken", most.ByTime.Max)
	}
	for i := range m.tr.Slices.Start {
		if m.tr.Slices.Start[i] == 1129*5_000 {
			m.tr.Slices.Dur[i] = 2_000_000
		}
	}
	want(t, "full", QueueLength(m.tr, Options{}).Streams[0].BlockedNs, 0)
}

// TestFullQueueWait: with a queue at its ceiling, a call has waited for room if it takes twice as long as an ordinary
// one, and not before.
func TestFullQueueWait(t *testing.T) {
	for _, c := range []struct {
		callNs int64
		full   bool
	}{{10_000, true}, {9_999, false}} {
		m := newMaker()
		fill(m, 1131, 0)
		// The last call begins at 5650 µs and makes the queue 1018 long, its ceiling; kernel 113 begins at 5655.
		for i := range m.tr.Slices.Start {
			if m.tr.Slices.Start[i] == 1130*5_000 && m.tr.Slices.Cat[i] == trace.CatCUDARuntime {
				m.tr.Slices.Dur[i] = c.callNs
			}
		}
		q := QueueLength(m.tr, Options{}).Streams[0]
		want(t, "full after a call of "+time.Duration(c.callNs).String(), q.BlockedNs > 0, c.full)
	}
}

// TestOrdinaryCall: an ordinary call is the median of those that find the queue shorter than a length.
func TestOrdinaryCall(t *testing.T) {
	m := newMaker()
	for k, dur := range []float64{4, 2, 9, 30} {
		m.launched(m.s7, "k", 50*float64(k), dur, 1000+10*float64(k), 10)
	}
	f := newFrame(m.tr, Options{})
	steps := f.queueSteps()[f.laneOf[1]]
	for below, ns := range map[int]int64{1: 0, 2: 4_000, 3: 4_000, 4: 4_000, 5: 9_000} {
		want(t, fmt.Sprintf("below a length of %d", below), f.ordinaryCall(steps, below), ns)
	}
}

func TestFullQueueGraph(t *testing.T) {
	// One launch of a graph with more nodes than the queue has places waits for nothing.
	m := newMaker()
	h, _ := m.launched(m.s7, "node", 0, 1000, 1000, 5)
	for k := range 1100 {
		d := m.kernel(m.s7, "node", 1005+5*float64(k), 5)
		m.tr.Slices.Corr[d] = m.tr.Slices.Corr[h]
	}
	q := QueueLength(m.tr, Options{}).Streams[0]
	want(t, "full", q.BlockedNs, 0)
	want(t, "nodes", q.ByTime.Max, 1101)
	if ns, _ := q.Blocked(FullQueueLength); ns == 0 {
		t.Error("HTA's definition counts no nodes")
	}
}

// TestFullQueueShared holds the definition against a trace whose launches wait at 1022,
// which 1024 misses.
func TestFullQueueShared(t *testing.T) {
	q := QueueLength(loadShared(t, "ns_resolution"), Options{}).Streams[0]
	want(t, "full from", q.FullLength, 1018)
	if q.BlockedShare < 0.5 {
		t.Errorf("full for %v of the time", q.BlockedShare)
	}
	if ns, _ := q.Blocked(FullQueueLength); ns != 0 {
		t.Errorf("%d ns at %d", ns, FullQueueLength)
	}
}

// TestWaitedForRoom: a call waited if it was slow, ended within the stretch, and work of the stream began
// before it returned.
func TestWaitedForRoom(t *testing.T) {
	const end, slow = 1000, 20
	for _, c := range []struct {
		name  string
		call  interval
		begun []int64
		want  bool
	}{
		{"slow, and work began", interval{500, 520}, []int64{510}, true},
		{"work begins as it does", interval{500, 520}, []int64{500}, true},
		{"work begins as it returns", interval{500, 520}, []int64{520}, true},
		{"fast", interval{500, 519}, []int64{510}, false},
		{"work began before it", interval{500, 520}, []int64{499}, false},
		{"work begins after it", interval{500, 520}, []int64{521}, false},
		{"no work begins", interval{500, 520}, nil, false},
		{"returns at the end", interval{980, 1000}, []int64{990}, true},
		{"returns after the end", interval{981, 1001}, []int64{990}, false},
	} {
		s := stretch{start: 400, calls: []interval{{450, 451}, c.call}, begun: c.begun}
		if got := s.waited(end, slow); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
