package timeline

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/index"
)

// tall returns a trace of n slices on four threads and two streams, in stacks of ten.
func tall(n int) *trace.Trace {
	rnd := rand.New(rand.NewPCG(1, 2))
	t := trace.New()
	names := make([]trace.StringID, 400)
	for i := range names {
		names[i] = t.Intern("aten::op" + string(rune('a'+i%26)) + string(rune('a'+i/26)))
	}
	const deep = 10
	s := &t.Slices
	for k := range 6 {
		cat, track := trace.CatCPUOp, trace.Track{PID: 1, TID: int64(k), Device: -1}
		if k > 3 {
			cat, track = trace.CatKernel, trace.Track{Kind: trace.TrackGPU, Stream: int64(k)}
		}
		id, at := t.AddTrack(track), int64(0)
		for range n / 6 / deep {
			dur := 5000 + rnd.Int64N(20_000)
			for d := range int64(deep) {
				start, length := at+d*50, dur-d*200
				if cat == trace.CatKernel { // these lie side by side
					start, length = at+d*dur/deep, dur/deep-rnd.Int64N(100)
				}
				s.Start, s.Dur, s.Name = append(s.Start, start), append(s.Dur, length), append(s.Name,
					names[rnd.IntN(len(names))])
				s.Cat, s.Track, s.Corr = append(s.Cat, cat), append(s.Track, id), append(s.Corr, trace.NoCorrelation)
				s.Args, s.Event = append(s.Args, trace.NoArgs), append(s.Event, uint32(s.Len()))
			}
			at += dur + rnd.Int64N(3000)
		}
	}
	return t
}

// BenchmarkOpen opens ten million slices whose index lies beside the file, to the first
// picture. The parts are told in milliseconds, and the whole as a multiple of the time in
// which the index's bytes are read, so that machines compare.
func BenchmarkOpen(b *testing.B) {
	file := filepath.Join(b.TempDir(), "trace.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		b.Fatal(err)
	}
	const size = 1 << 30 // of such a trace, which an index's size is measured by; none of it is written
	if err := os.Truncate(file, size); err != nil {
		b.Fatal(err)
	}
	cache := index.Cache{Beside: true}
	if err := cache.Save(file, tall(10_000_000)); err != nil {
		b.Fatal(err)
	}
	var bare, load, lay, draw time.Duration
	for b.Loop() {
		at := time.Now()
		lap := func(sum *time.Duration) {
			now := time.Now()
			*sum += now.Sub(at)
			at = now
		}
		if _, err := os.ReadFile(file + index.Suffix); err != nil {
			b.Fatal(err)
		}
		lap(&bare)
		t, err := cache.Load(file, nil)
		if err != nil {
			b.Fatal(err)
		}
		lap(&load)
		tl, err := New([]Source{{Trace: t}}, Options{})
		if err != nil {
			b.Fatal(err)
		}
		lap(&lay)
		q := Query{From: 0, To: tl.EndNs, Px: 2000}
		for _, n := range tl.Tree(PackAuto) {
			if n.Slices > 0 {
				q.Tracks = append(q.Tracks, n.ID)
			}
		}
		if _, err := tl.Slices(nil, q); err != nil {
			b.Fatal(err)
		}
		lap(&draw)
	}
	each := func(d time.Duration, unit string) {
		b.ReportMetric(d.Seconds()*1e3/float64(b.N), unit)
	}
	each(load, "load-ms")
	each(lay, "rows-ms")
	each(draw, "picture-ms")
	each(load+lay+draw, "first-picture-ms")
	b.ReportMetric(float64(load+lay+draw)/float64(bare), "x-reading")
	b.ReportMetric(0, "ns/op")
}
