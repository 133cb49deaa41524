package folded

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestWrite(t *testing.T) {
	tr := trace.New()
	a := tr.AddTrack(trace.Track{})
	b := tr.AddTrack(trace.Track{})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU})
	req := tr.AddTrack(trace.Track{Kind: trace.TrackOther})
	add := func(track trace.TrackID, start, dur int64, name, args string) {
		tr.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Cat: trace.CatCPUOp, Track: track, Args: []byte(args)})
	}
	add(a, 0, 10_000, "decode step", "")
	add(a, 1000, 2000, "aten::mm;x\ty\n\r", "")
	add(a, 4000, 1400, "aten::add", "")
	add(b, 0, 3000, "decode step", "")
	add(b, 1000, 1000, "aten::mm;x\ty\n\r", "") // one line with the one above
	add(b, 5000, 400, "tiny", "")
	add(b, 6000, 1000, "go", `{"Call stack": "a.go(3): inner f;b.go(9): outer"}`)
	add(b, 9000, 1000, "", "")
	add(gpu, 0, 9000, "gemm", "")
	add(req, 0, 9000, "request", "")
	var out bytes.Buffer
	if err := Write(&out, tr); err != nil {
		t.Fatal(err)
	}
	want := "b.go(9):_outer;a.go(3):_inner_f;go 1\n" +
		"decode_step 9\n" +
		"decode_step;aten::add 1\n" +
		"decode_step;aten::mm_x_y__ 3\n" +
		"unnamed 1\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk is full") }

func TestWriteReportsError(t *testing.T) {
	tr := trace.New()
	tr.AddSlice(trace.Slice{Dur: 5000, Name: "a", Track: tr.AddTrack(trace.Track{})})
	if err := Write(failing{}, tr); err == nil {
		t.Error("no error")
	}
}
