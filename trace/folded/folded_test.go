package folded

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
)

func TestWrite(t *testing.T) {
	tr := trace.New()
	a := tr.AddTrack(trace.Track{})
	b := tr.AddTrack(trace.Track{})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU})
	req := tr.AddTrack(trace.Track{Kind: trace.TrackOther})
	add := func(track trace.TrackID, start, dur int64, name, args string) {
		tr.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Cat: trace.CatCPUOp, Track: track,
			Args: []byte(args)})
	}
	add(a, 0, 10_000, "decode step", "")
	add(a, 1000, 2000, "aten::mm;x\ty\n\r", "")
	add(a, 4000, 1400, "aten::add", "")
	add(b, 0, 3000, "decode step", "")
	add(b, 1000, 1000, "aten::mm;x\ty\n\r", "") // one line with the one above
	add(b, 5000, 400, "tiny", "")
	add(b, 6000, 1000, "go", `{"Call stack": "a.go(3): inner f;b.go(9): outer"}`)
	add(b, 9000, 1000, "", "")
	for i, name := range []string{"ProfilerStep#7", "ProfilerStep#8",
		"<built-in method f of X object at 0x7fa5dfd4f830>", "<built-in method f of X object at 0x7fa5dfd4f990>"} {
		add(b, 20_000+int64(i)*1000, 1000, name, "")
	}
	add(b, 30_000, 1000, "esc\x1b[31m\u009b\u202e", "")
	add(gpu, 0, 9000, "gemm", "")
	add(req, 0, 9000, "request", "")
	var out bytes.Buffer
	if err := Write(&out, tr); err != nil {
		t.Fatal(err)
	}
	want := "<built-in_method_f_of_X_object> 2\n" +
		"ProfilerStep 2\n" +
		"b.go(9):_outer;a.go(3):_inner_f;go 1\n" +
		"decode_step 9\n" +
		"decode_step;aten::add 1\n" +
		"decode_step;aten::mm_x_y__ 3\n" +
		"esc_[31m__ 1\n" +
		"unnamed 1\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWriteDevice(t *testing.T) {
	tr := trace.New()
	host := tr.AddTrack(trace.Track{})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Stream: 7})
	add := func(track trace.TrackID, cat trace.Category, start, dur int64, name string, corr int64, args string) {
		tr.AddSlice(trace.Slice{Start: start * 1000, Dur: dur * 1000, Name: name, Cat: cat, Track: track, Corr: corr,
			Args: []byte(args)})
	}
	add(host, trace.CatPythonFunction, 0, 100, "run.py(3): main", 0, "")
	add(host, trace.CatPythonFunction, 5, 80, "model.py(7): forward", 0, "")
	for i := range int64(2) { // one line
		add(host, trace.CatCPUOp, 10+i*20, 15, "aten::linear", 0, "")
		add(host, trace.CatCPUOp, 12+i*20, 10, "aten::mm", 0, "")
		add(host, trace.CatCUDARuntime, 13+i*20, 5, "cudaLaunchKernel", 1+i, "")
		add(gpu, trace.CatKernel, 50+i*50, 40+i, "sgemm", 1+i, "")
	}
	add(host, trace.CatCUDARuntime, 60, 5, "cudaGraphLaunch", 3, "") // outside of operators, launches two
	add(gpu, trace.CatKernel, 200, 7, "a", 3, "")
	add(gpu, trace.CatGPUMemset, 210, 2, "Memset", 3, "")
	add(host, trace.CatCPUOp, 110, 10, "old::op", 0, `{"Call stack": "in.py(1): f;out.py(2): <module>"}`)
	add(host, trace.CatCUDADriver, 112, 5, "cuLaunchKernel", 4, "")
	add(gpu, trace.CatKernel, 220, 11, "k", 4, "")
	add(gpu, trace.CatKernel, 300, 9, "lost kernel", 77, "")    // launched before the window
	add(gpu, trace.CatGPUUserAnnotation, 0, 400, "step", 0, "") // no work
	var out bytes.Buffer
	if err := WriteDevice(&out, tr, opstats.Collect(tr)); err != nil {
		t.Fatal(err)
	}
	want := "out.py(2):_<module>;in.py(1):_f;old::op 11\n" +
		"run.py(3):_main;model.py(7):_forward;aten::linear;aten::mm 81\n" +
		"run.py(3):_main;model.py(7):_forward;cudaGraphLaunch 9\n" +
		"step;lost_kernel 9\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := WriteDevice(failing{}, tr, opstats.Collect(tr)); err == nil {
		t.Error("no error")
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
