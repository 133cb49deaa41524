package steps

import "testing"

// BenchmarkFindByRepetition: 400 steps of 485 launches without labels.
func BenchmarkFindByRepetition(b *testing.B) {
	g := newGPU()
	for range 400 {
		g.now += 30
		g.layers(80, 5, 3, "attn")
		g.sync()
	}
	n := float64(g.t.Slices.Len())
	b.ReportAllocs()
	for b.Loop() {
		if r := Find(g.t, Options{}); len(r.Steps) != 400 {
			b.Fatalf("%d steps: %s", len(r.Steps), r.How)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/slice")
}
