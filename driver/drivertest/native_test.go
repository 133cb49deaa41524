package drivertest_test

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/drivertest"
	"github.com/kinetoscope/kinetoscope/driver/native"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// filesUnder are the files below dir.
func filesUnder(dir string) (out []string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return nil
	})
	return out
}

var span = profiler.Intern("iteration")

func TestNative(t *testing.T) {
	rec := profiler.New(profiler.Config{Process: "test"})
	track := rec.Track("t")
	defer track.Close()
	if err := rec.FlightStart(profiler.FlightOptions{}); err != nil {
		t.Fatal(err)
	}
	defer rec.FlightStop() //nolint:errcheck // the test is over
	info := protocol.RankInfo{RankID: protocol.RankID{Pipeline: "suite"}, StageName: "decoder", WorldSize: 1}
	spool := t.TempDir()
	open := func() *driver.Rank {
		return native.NewRank(rec, info, spool, driver.WithHubLossTimeout(drivertest.HubLoss),
			driver.WithLogger(slog.New(slog.DiscardHandler)))
	}
	r := open()
	var hears atomic.Pointer[driver.Rank] // the suite's beats come from a goroutine of their own
	hears.Store(r)
	s := &drivertest.Subject{Handler: r, Beat: func(hub string) { hears.Load().HubSeen(hub) },
		Left: func() []string { return filesUnder(spool) },
		Can:  native.New(rec, info, spool).Capabilities(), Check: wholeRecording, CheckPast: wholeRecording}
	s.Iterate = func(n int) {
		for range n {
			r.BeginStep()
			track.Begin(span, profiler.CategoryAnnotation).End()
			r.Step()
		}
	}
	s.Succeed = func(t *testing.T) {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r = open()
		s.Handler = r
		hears.Store(r)
	}
	drivertest.Run(t, s)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// wholeRecording reads a recording to its end, and wants a step in it.
func wholeRecording(t *testing.T, files []rank.File) {
	t.Helper()
	if len(files) != 1 || files[0].Kind != protocol.KindRecording {
		t.Fatalf("files: %v", files)
	}
	f, err := os.Open(files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rd, err := format.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	slices := 0
	for {
		g, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		slices += len(g.Slices.Name)
	}
	if rd.Cut() != nil || slices == 0 {
		t.Errorf("%d slices, cut: %v", slices, rd.Cut())
	}
}
