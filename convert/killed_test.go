package convert

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/native"
)

// childEnv makes this test binary a rank that records into the named file until it is
// killed.
const childEnv = "KINETOSCOPE_TEST_RECORD_INTO"

// announcing tells on standard output when generations have reached the file.
type announcing struct {
	f       *os.File
	writes  int
	written chan struct{} // room for one
}

func (a *announcing) Write(p []byte) (int, error) {
	n, err := a.f.Write(p)
	if a.writes++; a.writes == 5 {
		fmt.Println("recorded")
	}
	select {
	case a.written <- struct{}{}:
	default:
	}
	return n, err
}

func recordForever(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	rec := profiler.New(profiler.Config{FlushEvery: 5 * time.Millisecond})
	track := rec.Track("scheduler")
	out := &announcing{f: f, written: make(chan struct{}, 1)}
	if err := rec.Start(profiler.StartOptions{Out: out, RecordShapes: true, Meta: map[string]string{
		protocol.MetaStageID: "0", protocol.MetaStage: "thinker", protocol.MetaRank: "0",
	}}); err != nil {
		return err
	}
	for i := 1; ; i++ {
		step := track.Begin(nStep, profiler.CategoryAnnotation)
		track.Begin(nMatmul, profiler.CategoryOp).Shape(profiler.Float32, 2, 3).End()
		step.End()
		if i%100 == 0 {
			<-out.written // a bounded recording, killed within a step or between two
		}
	}
}

func TestRankOfKilledProcess(t *testing.T) {
	if path := os.Getenv(childEnv); path != "" {
		t.Fatal(recordForever(path))
	}
	in := filepath.Join(t.TempDir(), "rank0.rec")
	cmd := exec.Command(os.Args[0], "-test.run=^TestRankOfKilledProcess$")
	cmd.Env = append(os.Environ(), childEnv+"="+in)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed: always an error
	if readErr != nil || line != "recorded\n" {
		t.Fatalf("the rank said %q, %v", line, readErr)
	}
	dir := t.TempDir()
	r, err := Recording(context.Background(), in, Dir(dir), Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkFiles(t, dir, r.Artifacts)
	if len(r.Notes) == 0 || !strings.Contains(r.Notes[0], "breaks off at") || len(r.Artifacts) != 4 {
		t.Errorf("notes %q, %d artifacts", r.Notes, len(r.Artifacts))
	}
	if id, ok := r.Trace.Strings.Lookup("aten::mm"); !ok || id == 0 || r.Trace.Slices.Len() < 10 {
		t.Errorf("%d slices", r.Trace.Slices.Len())
	}
	if err := r.Trace.Validate(); err != nil {
		t.Error(err)
	}
	if r.Trace.Meta.Extra[native.ExtraTruncated] == "" || r.Trace.Repairs.Count[trace.RepairTruncatedFile] != 1 {
		t.Error("the trace does not say that it was cut")
	}
}
