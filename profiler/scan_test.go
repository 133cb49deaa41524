package profiler

import (
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// slowScan is scan by format.ReadRecord: how far it gets, and the depth there.
func slowScan(data []byte) (good, depth int) {
	var r format.Record
	for good < len(data) {
		n, bad := format.ReadRecord(data[good:], &r)
		if bad != "" || r.Timed && r.Delta > 1<<61-1 {
			return good, depth
		}
		switch r.Type {
		case format.TypeBegin:
			if depth == format.MaxDepth {
				return good, depth
			}
			depth++
		case format.TypeEnd:
			if depth == 0 {
				return good, depth
			}
			depth--
		case format.TypeUnwind:
			if int(r.Value) > depth {
				return good, depth
			}
			depth -= int(r.Value)
		case format.TypeTarget:
			if int(r.Value) >= depth {
				return good, depth
			}
		}
		good += n
	}
	return good, depth
}

// The collector's scan and the reader agree on what a record is, byte for byte, on
// nonsense too.
func TestScanAgreesWithReader(t *testing.T) {
	tags := []byte{0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
		0x18, 0x19, 0x1a, 0x20, 0x2f, 0x31, 0x41, 0x53, 0x60, 0xff}
	rapid.Check(t, func(rt *rapid.T) {
		var data []byte
		for range rapid.IntRange(1, 12).Draw(rt, "records") {
			data = append(data, rapid.SampledFrom(tags).Draw(rt, "tag"))
			switch rapid.IntRange(0, 2).Draw(rt, "kind") {
			case 0:
				data = append(data, rapid.SliceOfN(rapid.Byte(), 0, 24).Draw(rt, "any")...)
			case 1:
				data = append(data, rapid.SliceOfN(rapid.ByteRange(0, 3), 2, 10).Draw(rt, "small")...)
			}
		}
		e := &engine{}
		var rd reading
		good := e.scan(&rd, data)
		want, depth := slowScan(data)
		if good != want || len(rd.stack) != depth {
			rt.Fatalf("% x: scan accepts %d bytes and depth %d, the reader %d and %d", data, good, len(rd.stack), want,
				depth)
		}
	})
}

func BenchmarkCollector(b *testing.B) {
	r := New(Config{FlushEvery: time.Hour, ChunkBytes: maxChunkBytes, MaxBytes: 1 << 30})
	tr := r.Track("t")
	if err := r.Start(StartOptions{Out: io.Discard, RecordShapes: true, WithFLOPs: true}); err != nil {
		b.Fatal(err)
	}
	for range 20_000 {
		tr.Begin(testOp, CategoryOp).Shape(Float32, 8, 512).Shape(Float32, 512, 512).FLOPs(1<<22).Int(testKey, 3).End()
	}
	w := tr.live.Load()
	data := append([]byte(nil), w.buf[:w.pos]...)
	if _, err := r.Stop(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	e := &engine{}
	for b.Loop() {
		var rd reading
		if e.scan(&rd, data) != len(data) {
			b.Fatal("scan failed")
		}
	}
}
