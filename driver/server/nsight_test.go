package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// A server whose profiler is CUDA's leaves a report of Nsight Systems, under a name of its own: a new
// one is the rank's, and one that was there stays.
func TestReportsOfNsight(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{NoFiles: true}, nil)
	old := filepath.Join(u.dir, "old.nsys-rep")
	if err := os.WriteFile(old, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	q := request(nil)
	if _, err := u.Arm(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(u.dir, "report1.nsys-rep")
	if err := os.WriteFile(made, []byte("QDSS"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	s, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
	var reports []rank.File
	for _, f := range over.Files {
		if f.Kind == protocol.KindNsys {
			reports = append(reports, f)
		}
	}
	if err != nil || s.State != protocol.StateStopped || names(reports) != "report.nsys-rep" ||
		reports[0].Path != made {
		t.Fatalf("%+v, %+v, %v", s, over.Files, err)
	}
	if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	if left := u.left(); !slices.Contains(left, "old.nsys-rep") || slices.Contains(left, "report1.nsys-rep") {
		t.Errorf("left: %v", left)
	}
}

// A report that Nsight Systems makes long after the stop is waited for, where it is known that it makes one
// or what it makes it of is there.
func TestReportsOfNsightThatTakeTheirTime(t *testing.T) {
	for name, says := range map[string]func(*unit){
		"by its target": nil,
		"by its stream": func(u *unit) { u.write("report1.qdstrm", "QDSTRM") },
	} {
		u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{NoFiles: true},
			func(to *Target) { to.Nsys = says == nil })
		q := request(nil)
		if _, err := u.Arm(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		if says != nil {
			says(u)
		}
		if _, err := u.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		made := time.AfterFunc(2*quick.quiet, func() {
			u.write("report1.nsys-rep", "QDSS")
			_ = os.Remove(filepath.Join(u.dir, "report1.qdstrm"))
		})
		s, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
		made.Stop()
		if err != nil || s.State != protocol.StateStopped || !strings.Contains(names(over.Files), "report.nsys-rep") {
			t.Errorf("%s: %+v, %s, %v", name, s, names(over.Files), err)
		}
	}
}

// write writes a file into the server's directory.
func (u *unit) write(name, text string) {
	if err := os.WriteFile(filepath.Join(u.dir, name), []byte(text), 0o600); err != nil {
		u.t.Error(err)
	}
}
