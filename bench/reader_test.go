// Package bench holds the benchmarks of reading traces, and the programs that make
// the traces and measure whole processes. docs/reader.md has figures and how to take
// them.
package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/kinetoscope/kinetoscope/bench/tracegen"
	"github.com/kinetoscope/kinetoscope/internal/usage"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/open"
	_ "github.com/kinetoscope/kinetoscope/trace/write" // the writers of formats are registered there
)

// size of the text that is read: large against the buffers, small against a test run.
const size = 64 << 20

var generated = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	b.Grow(size + size/8)
	if _, err := tracegen.Write(&b, tracegen.Options{Bytes: size, Python: true, Memory: true}); err != nil {
		panic(err)
	}
	return b.Bytes()
})

var packed = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, 6)
	z.Write(generated())
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
})

func events(t *trace.Trace) int { return t.Slices.Len() + len(t.Flows.Time) + len(t.Instants.Time) }

func benchRead(b *testing.B, data []byte, o kineto.Options) {
	o.Size = int64(len(data))
	b.SetBytes(int64(len(generated())))
	b.ReportAllocs()
	var t *trace.Trace
	for b.Loop() {
		var err error
		if t, err = kineto.Read(context.Background(), bytes.NewReader(data), o); err != nil {
			b.Fatal(err)
		}
	}
	n := float64(events(t))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
	b.ReportMetric(float64(live(&t))/n, "live-B/event")
}

// live returns the memory that t holds: what the heap loses with it.
func live(t **trace.Trace) int64 {
	var with, without runtime.MemStats
	runtime.GC() // twice: what lies in pools outlives one
	runtime.GC()
	runtime.ReadMemStats(&with)
	runtime.KeepAlive(*t)
	*t = nil
	runtime.GC()
	runtime.ReadMemStats(&without)
	return int64(with.HeapAlloc) - int64(without.HeapAlloc)
}

func BenchmarkScan(b *testing.B) {
	for _, w := range []int{1, 2, 4, 8} {
		if w > 2*runtime.GOMAXPROCS(0) {
			break
		}
		b.Run(fmt.Sprintf("workers=%d", w),
			func(b *testing.B) { benchRead(b, generated(), kineto.Options{Workers: w}) })
	}
	b.Run("drop-args", func(b *testing.B) { benchRead(b, generated(), kineto.Options{DropArgs: true}) })
}

func BenchmarkGunzipScan(b *testing.B) {
	for _, w := range []int{1, 2, 4, 8} {
		if w > 2*runtime.GOMAXPROCS(0) {
			break
		}
		b.Run(fmt.Sprintf("workers=%d", w), func(b *testing.B) { benchRead(b, packed(), kineto.Options{Workers: w}) })
	}
}

// BenchmarkGunzip is the lower bound of reading a packed file.
func BenchmarkGunzip(b *testing.B) {
	b.SetBytes(int64(len(generated())))
	for b.Loop() {
		z, err := gzip.NewReader(bytes.NewReader(packed()))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, z); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNesting(b *testing.B) {
	t, err := kineto.Read(context.Background(), bytes.NewReader(generated()), kineto.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		t.AddSlice(trace.Slice{Name: "one more"}) // makes the index stale
		b.StartTimer()
		t.Index()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(t.Slices.Len()), "ns/slice")
}

// BenchmarkFiles reads 1, 10 and 100 packed files of the same total size.
func BenchmarkFiles(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		dir := b.TempDir()
		total := int64(0)
		for i := range n {
			f, err := os.Create(filepath.Join(dir, fmt.Sprintf("rank%d.json.gz", i)))
			if err != nil {
				b.Fatal(err)
			}
			z := gzip.NewWriter(f)
			c, err := tracegen.Write(z, tracegen.Options{Bytes: size / int64(n), Rank: i, World: n})
			if err != nil || z.Close() != nil || f.Close() != nil {
				b.Fatal(err)
			}
			total += c.Bytes
		}
		b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
			b.SetBytes(total)
			before := usage.Own().CPU
			for b.Loop() {
				if _, err := open.Files(context.Background(), []string{dir}, open.Options{}); err != nil {
					b.Fatal(err)
				}
			}
			cpu := usage.Own().CPU - before
			b.ReportMetric(cpu.Seconds()*1e3/float64(b.N), "cpu-ms/op")
			b.ReportMetric(cpu.Seconds()/b.Elapsed().Seconds(), "cores")
		})
	}
}

func BenchmarkIndexLoad(b *testing.B) {
	file := filepath.Join(b.TempDir(), "trace.json.gz")
	if err := os.WriteFile(file, packed(), 0o644); err != nil {
		b.Fatal(err)
	}
	t, err := kineto.ReadFile(context.Background(), file, kineto.Options{})
	if err != nil {
		b.Fatal(err)
	}
	c := index.Cache{Beside: true}
	if err := c.Save(file, t); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(generated())))
	for b.Loop() {
		if _, err := c.Load(file, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMemory holds the promise of 60 bytes an event for the columns and 160 with
// arguments, on a trace with frames, shapes and allocations.
func TestMemory(t *testing.T) {
	for _, c := range []struct {
		drop  bool
		limit float64
	}{{true, 60}, {false, 160}} {
		tr, err := kineto.Read(context.Background(), bytes.NewReader(generated()),
			kineto.Options{DropArgs: c.drop, Size: size})
		if err != nil {
			t.Fatal(err)
		}
		n := events(tr)
		got := float64(live(&tr)) / float64(n)
		t.Logf("drop args %v: %.1f bytes/event of %d", c.drop, got, n)
		if got > c.limit {
			t.Errorf("drop args %v: %.1f bytes/event, at most %.0f", c.drop, got, c.limit)
		}
	}
}

// TestAllocations: reading allocates by names, templates and blocks, not by events.
func TestAllocations(t *testing.T) {
	small, big := allocs(t, 2<<20), allocs(t, 16<<20)
	t.Logf("allocations: %.0f for 2 MiB, %.0f for 16 MiB", small, big)
	if big > 3*small {
		t.Errorf("allocations grow with events: %.0f for 2 MiB, %.0f for 16 MiB", small, big)
	}
}

func allocs(t *testing.T, n int64) float64 {
	data := generated()[:n]
	return testing.AllocsPerRun(2, func() {
		if _, err := kineto.Read(context.Background(), bytes.NewReader(data), kineto.Options{Workers: 1}); err != nil {
			t.Error(err)
		}
	})
}

// TestGenerated checks the generator against the reader: nothing to mend, every row.
func TestGenerated(t *testing.T) {
	var b bytes.Buffer
	n, err := tracegen.Write(&b, tracegen.Options{Bytes: 1 << 20, Rank: 1, World: 4, Python: true, Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := kineto.Read(context.Background(), &b, kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Error(err)
	}
	if tr.Slices.Len() != n.Slices || len(tr.Flows.Time) != n.Flows || len(tr.Instants.Time) != n.Instants {
		t.Errorf("read %d %d %d, written %+v", tr.Slices.Len(), len(tr.Flows.Time), len(tr.Instants.Time), n)
	}
	delete(tr.Repairs.Count, trace.RepairUnsorted)
	if tr.Repairs.Total() > 0 || tr.Meta.Rank != 1 || tr.Index().Overlaps > 0 {
		t.Errorf("rank %d, %d overlaps, repairs %s", tr.Meta.Rank, tr.Index().Overlaps, tr.Repairs.String())
	}
}

// TestPerfettoIsSmaller: a generated trace takes less as Perfetto's packets, by themselves or packed as a whole,
// than as JSON under the gzip that torch uses.
func TestPerfettoIsSmaller(t *testing.T) {
	var text bytes.Buffer
	if _, err := tracegen.Write(&text, tracegen.Options{Bytes: 4 << 20, Python: true}); err != nil {
		t.Fatal(err)
	}
	tr, err := kineto.Read(context.Background(), bytes.NewReader(text.Bytes()), kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	gzipped := func(b []byte) int {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(b)
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Len()
	}
	f, _, err := format.ForPath("x.pftrace")
	if err != nil {
		t.Fatal(err)
	}
	write := func(o format.WriteOptions) []byte {
		var out bytes.Buffer
		w := f.Create(&out, o)
		err := w.Add(context.Background(), format.Rank{Trace: tr, Name: "rank 0"})
		if err = errors.Join(err, w.Close(context.Background())); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	limit := gzipped(text.Bytes())
	own, whole := len(write(format.WriteOptions{Ranks: 1})), gzipped(write(format.WriteOptions{Ranks: 1, Packed: true}))
	if own >= limit || whole >= limit {
		t.Errorf("%d bytes by themselves, %d packed as a whole; the trace's own .json.gz has %d", own, whole, limit)
	}
}
