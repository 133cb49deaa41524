package format_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// frames returns where each frame of a recording begins, and its end.
func frames(b []byte) []int {
	at := []int{len(format.Magic)}
	for i := at[0]; i < len(b); {
		i += 9 + int(binary.LittleEndian.Uint32(b[i+1:]))
		at = append(at, i)
	}
	return at
}

// seqs reads the generations and returns their numbers.
func seqs(t *testing.T, r io.Reader) (got []uint64, rd *format.Reader) {
	t.Helper()
	rd, err := format.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		g, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return got, rd
		}
		damage := (*format.Error)(nil)
		switch {
		case errors.As(err, &damage):
		case err != nil:
			t.Fatal(err)
		case !g.Final:
			got = append(got, g.Seq)
		}
	}
}

// One damaged place costs the generation that it is in, whatever byte it hits and however
// many are wrong or gone, and it is told.
func TestReadsOnBehindDamage(t *testing.T) {
	whole := file(format.FrameHeader, header())
	for seq := range byte(5) {
		g := generation(records())
		g.b[0] = seq
		whole = format.AppendFrame(whole, format.FrameGeneration, g.b)
	}
	whole = format.AppendFrame(whole, format.FrameEnd, ending().b)
	at := frames(whole)
	all, rd := seqs(t, bytes.NewReader(whole))
	if len(all) < 5 || rd.Damage() != nil || rd.Cut() != nil {
		t.Fatalf("%d generations, damage %+v, cut %+v", len(all), rd.Damage(), rd.Cut())
	}
	frameOf := func(i int) int {
		f := 0
		for at[f+1] <= i {
			f++
		}
		return f
	}
	kinds := map[string]func(b []byte, i int) []byte{
		"bit":     func(b []byte, i int) []byte { b[i] ^= 0x10; return b },
		"zeros":   func(b []byte, i int) []byte { was := b[i]; clear(b[i:min(i+3, len(b))]); b[i] = was ^ 1; return b },
		"missing": func(b []byte, i int) []byte { return append(b[:i:i], b[i+1:]...) },
		"more":    func(b []byte, i int) []byte { return append(append(b[:i:i], 'G', 0, 0, 0, 0), b[i:]...) },
	}
	for name, harm := range kinds {
		for i := at[1]; i < len(whole); i++ {
			b := harm(bytes.Clone(whole), i)
			got, rd := seqs(t, iotest.HalfReader(bytes.NewReader(b)))
			lost := len(all) - len(got)
			// Three zeros may reach into the next frame.
			most := 1
			if name == "zeros" && i+3 > at[frameOf(i)+1] {
				most = 2
			}
			if lost > most || lost < 0 {
				t.Fatalf("%s at %d (frame %d): %d of %d generations read", name, i, frameOf(i), len(got), len(all))
			}
			if len(rd.Damage()) == 0 && rd.Cut() == nil {
				t.Fatalf("%s at %d (frame %d): nothing is told", name, i, frameOf(i))
			}
			if name == "bit" && lost == 1 && frameOf(i) < len(at)-2 {
				d := rd.Damage()
				if len(d) != 1 || d[0].Offset != int64(at[frameOf(i)]) ||
					d[0].Offset+d[0].Bytes != int64(at[frameOf(i)+1]) || rd.Cut() != nil {
					t.Fatalf("bit at %d: damage %+v, want frame %d alone; cut %+v", i, d, frameOf(i), rd.Cut())
				}
			}
		}
	}
}

// Many places are told up to a bound, and read on behind every one.
func TestManyDamagedPlaces(t *testing.T) {
	b := file(format.FrameHeader, header())
	const n = 1000
	for range n {
		bad := file(format.FrameGeneration, generation(records()))[len(format.Magic):]
		bad[20] ^= 1
		b = append(b, bad...)
		b = append(b, file(format.FrameGeneration, generation(records()))[len(format.Magic):]...)
	}
	got, rd := seqs(t, bytes.NewReader(b))
	var bytes int64
	for _, d := range rd.Damage() {
		bytes += d.Bytes
	}
	if len(got) != n || len(rd.Damage()) >= n || bytes < int64(len(b))/3 {
		t.Errorf("%d generations of %d, %d places, %d of %d bytes", len(got), n, len(rd.Damage()), bytes, len(b))
	}
}

// Bytes that look like the beginnings of frames everywhere are given up in bounded work.
func TestHostileSearchEnds(t *testing.T) {
	b := file(format.FrameHeader, header())
	for range 64 << 10 {
		b = append(b, 'G', 0, 0, 0x10, 0)
	}
	got, rd := seqs(t, bytes.NewReader(b))
	if len(got) != 0 || rd.Cut() == nil {
		t.Errorf("%d generations, cut %+v", len(got), rd.Cut())
	}
}
