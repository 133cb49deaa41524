package speedscope

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

type file struct {
	Shared struct {
		Frames []struct {
			Name, File string
			Line       int
		}
	}
	Profiles []struct {
		Type, Name           string
		StartValue, EndValue int64
		Events               []struct {
			Type  string
			At    int64
			Frame int
		}
		Samples [][]int
		Weights []int64
	}
}

func write(t interface{ Fatal(...any) }, tr *trace.Trace) file {
	var out bytes.Buffer
	if err := Write(&out, "x", []Rank{{Name: "rank 0", Trace: tr}}); err != nil {
		t.Fatal(err)
	}
	var f file
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		t.Fatal(err, out.String())
	}
	return f
}

func TestWrite(t *testing.T) {
	tr := trace.New()
	host := tr.AddTrack(trace.Track{TID: 5, Process: "python"})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Stream: 7})
	tr.AddSlice(trace.Slice{Start: 1000, Dur: 500, Name: "m.py(3): f", Cat: trace.CatPythonFunction, Track: host,
		Corr: trace.NoCorrelation})
	tr.AddSlice(trace.Slice{Start: 1100, Dur: 100, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime, Track: host,
		Corr: 4})
	tr.AddSlice(trace.Slice{Start: 1300, Dur: 700, Name: "gemm", Cat: trace.CatKernel, Track: gpu, Corr: 4})
	f := write(t, tr)
	if len(f.Profiles) != 3 {
		t.Fatalf("%d profiles", len(f.Profiles))
	}
	for i, name := range []string{"rank 0 python thread 5", "rank 0 device 0 stream 7", "rank 0 device time by stack"} {
		if f.Profiles[i].Name != name {
			t.Errorf("profile %d is %q, want %q", i, f.Profiles[i].Name, name)
		}
	}
	if p := f.Profiles[1]; p.StartValue != 300 || p.EndValue != 1000 {
		t.Errorf("the stream lasts from %d to %d", p.StartValue, p.EndValue)
	}
	if p := f.Profiles[2]; len(p.Samples) != 1 || len(p.Samples[0]) != 2 || p.Weights[0] != 700 ||
		f.Shared.Frames[p.Samples[0][0]].Name != "f" || f.Shared.Frames[p.Samples[0][1]].Name != "cudaLaunchKernel" {
		t.Errorf("device time %+v of %+v", p, f.Shared.Frames)
	}
	if fr := f.Shared.Frames[0]; fr.File != "m.py" || fr.Line != 3 {
		t.Errorf("frame %+v", fr)
	}
}

// speedscope refuses a profile whose events go back in time or do not nest. Every slice is
// in the file once.
func TestEventsNest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := trace.New()
		track := tr.AddTrack(trace.Track{})
		n := rapid.IntRange(1, 40).Draw(rt, "n")
		for range n {
			tr.AddSlice(trace.Slice{
				Start: rapid.Int64Range(0, 60).Draw(rt, "start"), Dur: rapid.Int64Range(0, 30).Draw(rt, "dur"),
				Name: string(rune('a' + rapid.IntRange(0, 3).Draw(rt, "name"))), Track: track,
			})
		}
		opened := 0
		for _, p := range write(rt, tr).Profiles {
			var stack []int
			at := p.StartValue
			for _, e := range p.Events {
				if e.At < at || e.At > p.EndValue {
					rt.Fatalf("%s: %d after %d, end %d", p.Name, e.At, at, p.EndValue)
				}
				at = e.At
				if e.Type == "O" {
					stack = append(stack, e.Frame)
					opened++
					continue
				}
				if len(stack) == 0 || stack[len(stack)-1] != e.Frame {
					rt.Fatalf("%s: frame %d closed, open are %v", p.Name, e.Frame, stack)
				}
				stack = stack[:len(stack)-1]
			}
			if len(stack) > 0 {
				rt.Fatalf("%s: %v stay open", p.Name, stack)
			}
		}
		if opened != n {
			rt.Fatalf("%d of %d slices", opened, n)
		}
	})
}

func TestEmptyAndFailing(t *testing.T) {
	if f := write(t, trace.New()); len(f.Profiles) != 0 {
		t.Errorf("%d profiles of an empty trace", len(f.Profiles))
	}
	tr := trace.New()
	tr.AddSlice(trace.Slice{Dur: 5, Name: "a", Track: tr.AddTrack(trace.Track{})})
	if err := Write(failing{}, "x", []Rank{{Trace: tr}}); err == nil {
		t.Error("no error of the writer")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk is full") }
