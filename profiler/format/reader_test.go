package format_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
)

var update = flag.Bool("update", false, "write golden files")

// payload builds payloads by hand, so that the format's text is tested and not only
// that the writer and the reader agree.
type payload struct{ b []byte }

func (p *payload) u(vs ...uint64) *payload {
	for _, v := range vs {
		p.b = binary.AppendUvarint(p.b, v)
	}
	return p
}

func (p *payload) z(vs ...int64) *payload {
	for _, v := range vs {
		p.b = format.AppendInt(p.b, v)
	}
	return p
}

func (p *payload) s(ss ...string) *payload {
	for _, s := range ss {
		p.b = format.AppendString(p.b, s)
	}
	return p
}

func (p *payload) raw(b ...byte) *payload {
	p.b = append(p.b, b...)
	return p
}

func f64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func header() *payload {
	return new(payload).s("stage0 dit rank 0", "monotonic").u(1, format.OptShapes|format.OptFLOPs, 4711).
		z(1000, 1_700_000_000_000_001_000, 500).u(2).s("rank", "0", "stage", "dit")
}

// records is one batch with every type of record.
func records() []byte {
	p := new(payload)
	p.raw(0x21).u(10, 2)                                 // begin denoise_step, category 1
	p.raw(0x10).u(4).z(17)                               // step=17
	p.raw(0x16).raw(f64(0xabcdef)...)                    // flow out
	p.raw(0x20).u(5, 3)                                  // begin mm
	p.raw(0x41).u(2).z(8, 512)                           // shape f32 [8 512]
	p.raw(0x45).u(0)                                     // shape bf16 []
	p.raw(0x14).z(1 << 33)                               // flops
	p.raw(0x15).z(4096)                                  // bytes
	p.raw(0x18).u(1)                                     // stack
	p.raw(0x19).u(1)                                     // the arguments that follow go one out
	p.raw(0x12).u(5).s("r-7")                            // request="r-7"
	p.raw(0x01).u(300)                                   // end mm
	p.raw(0x11).u(5, 6)                                  // request=eta
	p.raw(0x13).u(4).raw(f64(4607182418800017408)...)    // step=1.0
	p.raw(0x32).u(1, 6)                                  // instant
	p.raw(0x10).u(4).z(-1)                               // its step=-1
	p.raw(0x17).raw(f64(0xfedcba)...)                    // flow in
	p.raw(0x53).u(1, 5).raw(f64(99)...)                  // async begin
	p.raw(0x07).u(1, 5).raw(f64(99)...)                  // async end
	p.raw(0x03).u(1, 6).z(-5)                            // counter
	p.raw(0x04).u(1, 6).raw(f64(4612811918334230528)...) // counter 2.5
	p.raw(0x05).u(1, 7, 0xdead).z(64)                    // alloc
	p.raw(0x06).u(1, 7, 0xdead).z(64)                    // free
	p.raw(0x20).u(1, 3).raw(0x20).u(1, 3)                // two that are left open
	p.raw(0x02).u(2, 2)                                  // unwound
	return p.b
}

func generation(batch []byte) *payload {
	p := new(payload).u(0).z(500, 0, 0, 2000, 2000)
	p.u(9)
	for i, s := range []string{"", "(too many names)", "denoise_step", "mm", "step", "request", "eta", "arena",
		"/src/dit.go"} {
		p.u(uint64(i)).s(s)
	}
	p.u(1).u(1, 2, 3, 8, 42, 2, 8, 7)              // a stack of two frames
	p.u(1).u(5).s("rank 0 main").u(3)              // track 5, three dropped
	p.u(1).u(5).z(600).u(1, 1).u(0).z(450).u(2, 1) // batch: a step open since 450
	p.u(1, uint64(len(batch)))
	return p.raw(batch...)
}

func ending() *payload {
	return new(payload).z(2500, 1_700_000_000_000_002_600).u(12, 4, 1).s("stop").u(1).u(5, 4)
}

func file(frames ...any) []byte {
	b := []byte(format.Magic)
	for i := 0; i < len(frames); i += 2 {
		b = format.AppendFrame(b, frames[i].(byte), frames[i+1].(*payload).b)
	}
	return b
}

func whole() []byte {
	return file(format.FrameHeader, header(), format.FrameGeneration, generation(records()), format.FrameEnd, ending())
}

// text draws all that a reader gives.
func text(r io.Reader) (string, error) {
	rd, err := format.NewReader(r)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	h := rd.Header()
	fmt.Fprintf(&b,
		"header %q pid=%d clock=%s res=%d shapes=%t stacks=%t flops=%t memory=%t snapshot=%t anchor=%d/%d start=%d meta=%v\n",
		h.Process, h.PID, h.Clock, h.ResolutionNs, h.Shapes, h.Stacks, h.FLOPs, h.Memory, h.Snapshot, h.AnchorMono,
		h.AnchorUnix, h.Start, h.Meta)
	var first error
	for {
		g, err := rd.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		drawGeneration(&b, rd, g)
	}
	for _, t := range rd.Tracks() {
		fmt.Fprintf(&b, "track %d %q drops=%d\n", t.ID, t.Name, t.Drops)
	}
	if e := rd.End(); e != nil {
		fmt.Fprintf(&b, "end %d wall=%d events=%d drops=%d truncated=%d %q %v\n", e.Time, e.WallTime, e.Events, e.Drops,
			e.Truncated, e.Reason, e.TrackDrops)
	}
	if c := rd.Cut(); c != nil {
		fmt.Fprintf(&b, "cut at %d, %d bytes: %s\n", c.Offset, c.Bytes, c.Reason)
	}
	return b.String(), first
}

func drawGeneration(b *strings.Builder, rd *format.Reader, g *format.Generation) {
	fmt.Fprintf(b, "generation %d %d..%d final=%t\n", g.Seq, g.Start, g.End, g.Final)
	attrs := func(as []format.Attr) {
		for _, a := range as {
			switch a.Kind {
			case format.AttrInt:
				fmt.Fprintf(b, " %s=%d", rd.String(a.Key), a.Int)
			case format.AttrStr:
				fmt.Fprintf(b, " %s=%s", rd.String(a.Key), rd.String(a.Str()))
			case format.AttrText:
				fmt.Fprintf(b, " %s=%q", rd.String(a.Key), g.Text(a))
			case format.AttrFloat:
				fmt.Fprintf(b, " %s=%v", rd.String(a.Key), a.Float())
			case format.AttrFLOPs:
				fmt.Fprintf(b, " flops:%d", a.Int)
			case format.AttrBytes:
				fmt.Fprintf(b, " bytes:%d", a.Int)
			case format.AttrShape:
				fmt.Fprintf(b, " shape:%d%v", a.DType, g.Dims(a))
			case format.AttrStack:
				for _, f := range rd.Stack(a.Int) {
					fmt.Fprintf(b, " at:%s(%s:%d)", rd.String(f.Func), rd.String(f.File), f.Line)
				}
			}
		}
		b.WriteByte('\n')
	}
	s := &g.Slices
	for i := range s.Start {
		fmt.Fprintf(b, " slice %d+%d %q cat=%d track=%d depth=%d flags=%03b", s.Start[i], s.Dur[i],
			rd.String(s.Name[i]), s.Cat[i], s.Track[i], s.Depth[i], s.Flags[i])
		attrs(g.SliceAttrs(i))
	}
	for i := range g.Instants.Time {
		fmt.Fprintf(b, " instant %d %q cat=%d track=%d", g.Instants.Time[i], rd.String(g.Instants.Name[i]),
			g.Instants.Cat[i], g.Instants.Track[i])
		attrs(g.InstantAttrs(i))
	}
	for i := range g.Asyncs.Time {
		fmt.Fprintf(b, " async %d begin=%t %q id=%d cat=%d track=%d", g.Asyncs.Time[i], g.Asyncs.Begin[i],
			rd.String(g.Asyncs.Name[i]), g.Asyncs.ID[i], g.Asyncs.Cat[i], g.Asyncs.Track[i])
		attrs(g.AsyncAttrs(i))
	}
	for i := range g.Counters.Time {
		fmt.Fprintf(b, " counter %d %q %v track=%d\n", g.Counters.Time[i], rd.String(g.Counters.Name[i]),
			g.Counters.Value[i], g.Counters.Track[i])
	}
	for i := range g.Memory.Time {
		fmt.Fprintf(b, " memory %d alloc=%t %q %#x %d track=%d\n", g.Memory.Time[i], g.Memory.Alloc[i],
			rd.String(g.Memory.Pool[i]), g.Memory.Addr[i], g.Memory.Bytes[i], g.Memory.Track[i])
	}
	for i := range g.Flows.Time {
		fmt.Fprintf(b, " flow %d out=%t %#x track=%d\n", g.Flows.Time[i], g.Flows.Out[i], g.Flows.ID[i],
			g.Flows.Track[i])
	}
}

func TestGolden(t *testing.T) {
	got, err := text(bytes.NewReader(whole()))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "whole.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// Each way of being damaged gives an error with the field and an offset at or in it, and
// what came before is kept.
func TestDamage(t *testing.T) {
	batch := func(b ...byte) *payload { return generation(b) }
	gen := func(p *payload) []byte { return file(format.FrameHeader, header(), format.FrameGeneration, p) }
	flip := func(at int) []byte { b := whole(); b[at] ^= 0x40; return b }
	for _, c := range []struct {
		name, field string
		file        []byte
	}{
		{"empty", "magic", nil},
		{"another file", "magic", []byte("PK\x03\x04 something else")},
		{"version", "version", append([]byte("KINREC\x00\x09"), whole()[8:]...)},
		{"header missing", "frame.kind", file(format.FrameEnd, ending())},
		{"header cut", "header", whole()[:20]},
		{"header short", "header.meta.value", file(format.FrameHeader, &payload{header().b[:len(header().b)-1]})},
		{"header bit", "frame.crc", flip(20)},
		{"bit in a generation", "frame.crc", flip(300)},
		{"length", "frame.length", append(gen(generation(nil)), 'G', 0xff, 0xff, 0xff, 0xff)},
		{"frame kind", "frame.kind", file(format.FrameHeader, header(), byte('X'), ending())},
		{"tag", "record.tag", gen(batch(0xf0))},
		{"tag of no timed record", "record.tag", gen(batch(0x0f, 0))},
		{"tag of no argument", "record.tag", gen(batch(0x1f))},
		{"delta cut", "record.delta", gen(batch(0x20, 0x80))},
		{"delta huge", "record.delta", gen(batch(append([]byte{0x01}, binary.AppendUvarint(nil, 1<<63)...)...))},
		{"name cut", "record.name", gen(batch(0x20, 1))},
		{"name unknown", "record.name", gen(batch(0x20, 1, 77))},
		{"end without begin", "record.end", gen(batch(0x01, 1, 0x01, 1))},
		{"unwind of too many", "unwind.count", gen(batch(0x02, 1, 2))},
		{"unwind of none", "unwind.count", gen(batch(0x02, 1, 0))},
		{"target", "target.levels", gen(batch(0x19, 1))},
		{"key unknown", "attr.key", gen(batch(0x10, 50, 1))},
		{"value unknown", "attr.str", gen(batch(0x11, 2, 50))},
		{"text too long", "attr.text", gen(batch(append([]byte{0x12, 2},
			binary.AppendUvarint(nil, format.MaxText+1)...)...))},
		{"text cut", "attr.text", gen(batch(0x12, 2, 5, 'a'))},
		{"dims", "shape.dims", gen(batch(0x41, format.MaxDims+1))},
		{"flow cut", "flow.id", gen(batch(0x16, 1, 2, 3))},
		{"anchors", "generation.anchors", gen(new(payload).u(0).z(0, 5, 5, 4, 4).u(0, 0, 0, 0))},
		{"count", "generation.strings", gen(new(payload).u(0).z(0, 0, 0, 4, 4).u(1 << 40))},
		{"string id", "generation.string.id", gen(new(payload).u(0).z(0, 0, 0, 4, 4).u(1, format.MaxNames).s("x"))},
		{"string twice", "generation.string", gen(new(payload).u(0).z(0, 0, 0, 4, 4).u(2).u(3).s("x").u(3).s("y"))},
		{"stack function", "generation.stack.function",
			gen(new(payload).u(0).z(0, 0, 0, 4, 4).u(0).u(1).u(1, 1, 9, 9, 9))},
		{"track of a batch", "batch.track",
			gen(new(payload).u(0).z(0, 0, 0, 4, 4).u(0, 0, 0, 1).u(8).z(0).u(0, 0, 0, 0))},
		{"rest", "generation.rest", gen(generation(nil).raw(0))},
		{"end cut", "end.track.dropped", file(format.FrameHeader, header(), format.FrameEnd,
			&payload{ending().b[:len(ending().b)-1]})},
	} {
		_, err := text(bytes.NewReader(c.file))
		var e *format.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: error %v", c.name, err)
			continue
		}
		if e.Field != c.field || e.Offset < 0 || e.Offset > int64(len(c.file)) ||
			!strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: %v, want field %s", c.name, err, c.field)
		}
	}
}

func TestDeepNesting(t *testing.T) {
	var b []byte
	for range format.MaxDepth + 1 {
		b = append(b, 0x20, 1, 3)
	}
	_, err := text(bytes.NewReader(file(format.FrameHeader, header(), format.FrameGeneration, generation(b))))
	if err == nil || !strings.Contains(err.Error(), "record.depth") {
		t.Errorf("error %v", err)
	}
}

// A file cut anywhere reads without error up to its last whole frame.
func TestCutAnywhere(t *testing.T) {
	b := whole()
	headerEnd := len(file(format.FrameHeader, header()))
	for n := headerEnd; n < len(b); n++ {
		got, err := text(bytes.NewReader(b[:n]))
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if !strings.Contains(got, "cut at ") {
			t.Fatalf("cut at %d is not noticed", n)
		}
	}
	for n := range headerEnd {
		if _, err := text(bytes.NewReader(b[:n])); err == nil {
			t.Fatalf("half a header of %d bytes is accepted", n)
		}
	}
}

type failing struct {
	r   io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

// An error of the disk is an error, not an end.
func TestReadError(t *testing.T) {
	bad := errors.New("input/output error")
	b := whole()
	for _, n := range []int{3, 20, len(b) - 10} {
		if _, err := text(failing{bytes.NewReader(b[:n]), bad}); !errors.Is(err, bad) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestClock(t *testing.T) {
	c := format.NewClock(1000, 500, 4000, 1500)
	for tick, want := range map[int64]int64{1000: 500, 4000: 1500, 2500: 1000, 400: 300, 7000: 2500} {
		if got := c.Ns(tick); got < want-1 || got > want+1 {
			t.Errorf("tick %d is %d ns, want %d", tick, got, want)
		}
	}
	one := format.NewClock(0, 0, 1<<62, 1<<62)
	for _, v := range []int64{0, 1, 12345, 1<<62 - 1} {
		if one.Ns(v) != v {
			t.Errorf("identity of %d is %d", v, one.Ns(v))
		}
	}
	for _, extreme := range []format.Clock{format.NewClock(5, 5, 5, 5), format.NewClock(-1<<63, 0, 1<<63-1, 1<<62),
		format.NewClock(0, 0, 1, 1<<62)} {
		extreme.Ns(-1 << 63)
		extreme.Ns(1<<63 - 1)
	}
}

func recorded(tb testing.TB) []byte {
	r := profiler.New(profiler.Config{Process: "seed", GenerationBytes: 64})
	var b bytes.Buffer
	tr := r.Track("t")
	if err := r.Start(profiler.StartOptions{Out: &b, RecordShapes: true, WithFLOPs: true, WithMemory: true,
		WithStack: true}); err != nil {
		tb.Fatal(err)
	}
	op := profiler.Intern("op")
	for i := range 40 {
		s := tr.Begin(op, profiler.CategoryOp).Shape(profiler.Float32, i, 2).Text(op, "text").FlowOut(uint64(i))
		tr.Counter(op, int64(i))
		tr.Instant(op, profiler.CategoryOp).Int(op, 1)
		tr.Alloc(op, 1, 2)
		if i%3 > 0 {
			s.End()
		}
	}
	if _, err := r.Stop(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// FuzzReader damages recordings with the checksums put right again, so that the fields
// behind them are reached. Nothing may panic, and what is given must hang together.
func FuzzReader(f *testing.F) {
	f.Add(whole(), true)
	f.Add(recorded(f), true)
	f.Add(file(format.FrameHeader, header()), false)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			b = mendSums(b)
		}
		rd, err := format.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for errs := 0; ; {
			g, err := rd.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				if errs++; errs > len(b) {
					t.Fatal("errors without end")
				}
				var e *format.Error
				if !errors.As(err, &e) || e.Offset < 0 || e.Offset > int64(len(b)) {
					t.Fatalf("error %v", err)
				}
				continue
			}
			drawGeneration(new(strings.Builder), rd, g)
			for i, d := range g.Slices.Dur {
				if d < 0 && g.Slices.Start[i] < 1<<61 && g.Slices.Start[i] > -1<<61 {
					t.Fatalf("slice of %d ns", d)
				}
			}
		}
		for _, d := range rd.Damage() {
			if d.Bytes <= 0 || d.Offset+d.Bytes > int64(len(b)) || d.ToNs < d.FromNs {
				t.Fatalf("damage %+v of %d bytes", d, len(b))
			}
		}
		if (rd.End() == nil) == (rd.Cut() == nil) {
			t.Fatal("a recording either has an end or is cut")
		}
	})
}

// mendSums walks the frames and corrects their checksums.
func mendSums(b []byte) []byte {
	b = bytes.Clone(b)
	for i := len(format.Magic); i+9 <= len(b); {
		n := int(binary.LittleEndian.Uint32(b[i+1:]))
		if n > len(b)-i-9 {
			break
		}
		sum := crc32.Checksum(b[i:i+5+n], crc32.MakeTable(crc32.Castagnoli))
		binary.LittleEndian.PutUint32(b[i+5+n:], sum)
		i += 9 + n
	}
	return b
}

func BenchmarkReader(b *testing.B) {
	r := profiler.New(profiler.Config{})
	var file bytes.Buffer
	tr := r.Track("t")
	if err := r.Start(profiler.StartOptions{Out: &file, RecordShapes: true}); err != nil {
		b.Fatal(err)
	}
	op := profiler.Intern("op")
	const spans = 500_000
	for range spans {
		tr.Begin(op, profiler.CategoryOp).Shape(profiler.Float32, 8, 512).Int(op, 4).End()
	}
	if _, err := r.Stop(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(file.Len()))
	b.ReportAllocs()
	for b.Loop() {
		rd, err := format.NewReader(bytes.NewReader(file.Bytes()))
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for {
			g, err := rd.Next()
			if err != nil {
				break
			}
			n += len(g.Slices.Start)
		}
		if n != spans {
			b.Fatalf("%d spans", n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/spans, "ns/span")
}
