package lod

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// random makes a trace of one track: bursts of short slices, gaps, some that hold others,
// some that overlap in part, some without duration.
func random(seed uint64, n int) *trace.Trace {
	rnd := rand.New(rand.NewPCG(seed, 7))
	t := trace.New()
	k := t.AddTrack(trace.Track{Name: "stream 7"})
	at := int64(1_000)
	for i := range n {
		dur := rnd.Int64N(50)
		switch rnd.IntN(20) {
		case 0:
			at += rnd.Int64N(20_000)
		case 1:
			dur = rnd.Int64N(30_000)
		case 2:
			dur = 0
		}
		t.AddSlice(trace.Slice{Start: at, Dur: dur, Name: fmt.Sprint("s", i%9), Track: k, Corr: trace.NoCorrelation})
		if rnd.IntN(3) > 0 {
			at += dur
		}
		at += rnd.Int64N(20)
	}
	return t
}

// check holds the boxes of a row against its slices.
func check(t *testing.T, tr *trace.Trace, p *Rows, i int, w Window) {
	t.Helper()
	boxes := p.Query(nil, i, w)
	var want []uint32
	for _, s := range p.Slices(i) {
		start, end := tr.Slices.Start[s], tr.Slices.End(int(s))
		if start < w.To && (end > w.From || start >= w.From) {
			want = append(want, s)
		}
	}
	at := 0
	for _, b := range boxes {
		group := want[at:min(len(want), at+int(b.Count))]
		if len(group) != int(b.Count) {
			t.Fatalf("row %d %+v: more slices in boxes than in the window", i, w)
		}
		at += len(group)
		busy, longest := int64(0), group[0]
		for _, s := range group {
			busy += tr.Slices.Dur[s]
			if tr.Slices.Dur[s] > tr.Slices.Dur[longest] {
				longest = s
			}
			if c := w.edge(tr.Slices.Start[s]); c != w.edge(b.Start) {
				t.Fatalf("row %d %+v: slice %d is in a box of another column", i, w, s)
			}
			if b.Count > 1 && tr.Slices.Dur[s] >= w.Column {
				t.Fatalf("row %d %+v: slice %d, a column wide, is not alone", i, w, s)
			}
		}
		last := group[len(group)-1]
		if b.Busy != busy || b.Start != tr.Slices.Start[group[0]] || b.End != tr.Slices.End(int(last)) ||
			tr.Slices.Dur[b.Slice] != tr.Slices.Dur[longest] {
			t.Fatalf("row %d %+v: box %+v, want busy %d of %v", i, w, b, busy, group)
		}
	}
	if at != len(want) {
		t.Fatalf("row %d %+v: %d slices in boxes, %d in the window", i, w, at, len(want))
	}
}

// TestQueryIsItsSlices: at every zoom the boxes are the window's slices, each once, those
// as wide as a column alone: zoomed in the boxes are the slices, zoomed out no column with
// work is empty.
func TestQueryIsItsSlices(t *testing.T) {
	for seed := range uint64(12) {
		tr := random(seed, 1+int(seed*seed)*40)
		p := Of(tr, tr.Index(), 0)
		packed := Pack(tr, tr.Index().Track(0))
		start, end, _ := tr.Extent()
		rnd := rand.New(rand.NewPCG(seed, 1))
		windows := []Window{Columns(start, end+1, 1), Columns(start, end+1, 7), Columns(start, end+1, 2000),
			{start, end + 1, 1}, {start, start, 1}}
		for range 40 {
			from := start - 50 + rnd.Int64N(end-start+100)
			windows = append(windows, Columns(from, from+1+rnd.Int64N(max(1, (end-start)/int64(1+rnd.IntN(90)))),
				1+rnd.IntN(300)))
		}
		for _, rows := range []*Rows{p, packed} {
			total := 0
			for i := range rows.Len() {
				total += rows.Row(i).Len()
				for _, w := range windows {
					check(t, tr, rows, i, w)
				}
			}
			if total != tr.Slices.Len() || rows.Hidden != 0 {
				t.Fatalf("seed %d: rows hold %d of %d slices, %d hidden", seed, total, tr.Slices.Len(), rows.Hidden)
			}
		}
	}
}

// TestRowsDoNotOverlap: neither where the trace nests nor where lanes are packed.
func TestRowsDoNotOverlap(t *testing.T) {
	tr := random(5, 3000)
	for _, p := range []*Rows{Of(tr, tr.Index(), 0), Pack(tr, tr.Index().Track(0))} {
		for i := range p.Len() {
			end := int64(0)
			for _, s := range p.Slices(i) {
				if tr.Slices.Start[s] < end {
					t.Fatalf("row %d: slice %d begins before the one before has ended", i, s)
				}
				end = tr.Slices.End(int(s))
			}
		}
	}
}

// TestPackNeedsNoMoreLanesThanRunAtOnce: interval partitioning is optimal.
func TestPackNeedsNoMoreLanesThanRunAtOnce(t *testing.T) {
	tr := random(9, 2000)
	s := &tr.Slices
	type edge struct {
		at   int64
		step int
	}
	var edges []edge
	for i := range s.Len() {
		if s.Dur[i] > 0 {
			edges = append(edges, edge{s.Start[i], 1}, edge{s.End(i), -1})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if a.at != b.at {
			return int(min(1, max(-1, a.at-b.at)))
		}
		return a.step - b.step
	})
	most, now := 0, 0
	for _, e := range edges {
		now += e.step
		most = max(most, now)
	}
	if got := Pack(tr, tr.Index().Track(0)).Len(); got > most+1 { // slices without duration may need one
		t.Errorf("%d lanes, at most %d slices run at once", got, most)
	}
}

// TestDeepOverlapIsNotHidden: what exceeds the index's lanes gets rows of its own.
func TestDeepOverlapIsNotHidden(t *testing.T) {
	tr := trace.New()
	k := tr.AddTrack(trace.Track{})
	const n = 3000 // more than the index has lanes
	for i := range int64(n) {
		tr.AddSlice(trace.Slice{Start: i, Dur: n + i, Track: k, Corr: trace.NoCorrelation})
	}
	p := Of(tr, tr.Index(), k)
	if p.Hidden != 0 || p.Len() != n {
		t.Errorf("%d rows, %d hidden; want %d and 0", p.Len(), p.Hidden, n)
	}
}

func TestNoAllocationsInQuery(t *testing.T) {
	tr := random(3, 20_000)
	p := Of(tr, tr.Index(), 0)
	start, end, _ := tr.Extent()
	dst := make([]Box, 0, 1<<15)
	if n := testing.AllocsPerRun(20, func() { dst = p.Query(dst[:0], 0, Columns(start, end, 2000)) }); n != 0 {
		t.Errorf("%v allocations a query", n)
	}
}

// dense makes one stream of n kernels, back to back with small gaps.
func dense(n int) *trace.Trace {
	rnd := rand.New(rand.NewPCG(1, 2))
	t := trace.New()
	k := t.AddTrack(trace.Track{Kind: trace.TrackGPU})
	name, at := t.Intern("kernel"), int64(0)
	s := &t.Slices
	for i := range n {
		dur := 500 + rnd.Int64N(20_000)
		s.Start, s.Dur, s.Name = append(s.Start, at), append(s.Dur, dur), append(s.Name, name)
		s.Cat, s.Track, s.Corr = append(s.Cat, trace.CatKernel), append(s.Track, k), append(s.Corr, trace.NoCorrelation)
		s.Args, s.Event = append(s.Args, trace.NoArgs), append(s.Event, uint32(i))
		at += dur + rnd.Int64N(3000)
	}
	return t
}

const benchSlices = 10_000_000

func BenchmarkBuild(b *testing.B) {
	t := dense(benchSlices)
	x := t.Index()
	for b.Loop() {
		Of(t, x, 0)
	}
	b.ReportMetric(float64(b.N)*benchSlices/b.Elapsed().Seconds()/1e6, "Mslices/s")
}

// BenchmarkQuery asks for 2000 pixels of ten million slices, at the whole and zoomed in.
func BenchmarkQuery(b *testing.B) {
	t := dense(benchSlices)
	p := Of(t, t.Index(), 0)
	start, end, _ := t.Extent()
	for _, part := range []int64{1, 10, 1000, 100_000} {
		b.Run(fmt.Sprintf("1of%d", part), func(b *testing.B) {
			dst := make([]Box, 0, 1<<14)
			mid := (start + end) / 2
			for b.Loop() {
				dst = p.Query(dst[:0], 0, Columns(mid-(end-start)/part/2, mid+(end-start)/part/2, 2000))
			}
			b.ReportMetric(float64(len(dst)), "boxes")
		})
	}
}

func BenchmarkIndex(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		t := dense(benchSlices)
		b.StartTimer()
		t.Index()
	}
}
