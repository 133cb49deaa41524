package runs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace"
)

// finished makes a run of three ranks: one left a recording and a trace, one a trace, one nothing.
func finished(t *testing.T, root string) (dir, id string) {
	t.Helper()
	s, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	id = ulid.Make().String()
	r, err := s.Create(time.Now(), "mine", id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rank := func(n int, state protocol.RankState, kinds ...protocol.ArtifactKind) protocol.RankStatus {
		out := protocol.RankStatus{RankID: protocol.RankID{Pipeline: "p", Rank: n}, StageName: "thinker", State: state,
			Reason: "because"}
		for _, k := range kinds {
			a, err := r.Write(store.ArtifactName(out.RankID, "thinker", string(k), ".x"), k, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			out.Artifacts = append(out.Artifacts, a)
		}
		return out
	}
	st := session.Status{ID: id, State: session.StateComplete, StartedAt: time.Now(),
		Stages: []session.StageStatus{{Name: "thinker", Ranks: []protocol.RankStatus{
			rank(0, protocol.StateComplete, protocol.KindTrace, protocol.KindRecording),
			rank(1, protocol.StateComplete, protocol.KindTrace, protocol.KindOps),
			rank(2, protocol.StateLost),
		}}}}
	if err := r.Finish(store.Manifest{CreatedBy: "test", Session: st}); err != nil {
		t.Fatal(err)
	}
	return r.Dir(), id
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	dir, id := finished(t, root)
	t.Chdir(t.TempDir()) // where no file is called as a run is
	for _, name := range []string{dir, id, id[:12], strings.ToLower(id[:12]), "latest", filepath.Base(dir)} {
		if strings.ContainsAny(name, ".") {
			continue
		}
		r, err := Find(name, root)
		if err != nil || r == nil || r.Dir() != dir {
			t.Errorf("%s: %v, %v", name, r, err)
			continue
		}
		r.Close()
	}
	file := filepath.Join(t.TempDir(), "trace.json")
	if err := os.WriteFile(file, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, traces := range []string{file, filepath.Dir(file)} {
		if r, err := Find(traces, root); r != nil || err != nil {
			t.Errorf("%s: %v, %v; want neither", traces, r, err)
		}
	}
	for name, want := range map[string]string{"01ZZZZ": "no run in", "missing.json": "no such file, directory or run"} {
		if _, err := Find(name, root); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := Find("latest", filepath.Join(root, "none")); err == nil ||
		!strings.Contains(err.Error(), "no store at") {
		t.Errorf("without a store: %v", err)
	}
}

func TestInputs(t *testing.T) {
	dir, _ := finished(t, t.TempDir())
	r, err := store.OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ins, err := Inputs(r)
	if err != nil || len(ins) != 2 || !strings.Contains(ins[0].Path, "recording") ||
		!strings.Contains(ins[1].Path, "trace") {
		t.Fatalf("%+v, %v", ins, err)
	}
	tr := &trace.Trace{Meta: trace.Meta{Rank: -1, StageID: -1}}
	ins[1].Place(tr)
	if m := tr.Meta; m.Rank != 1 || m.Stage != "thinker" || m.StageID != 0 ||
		m.Learnt[trace.FieldRank] != trace.FromRun {
		t.Errorf("placed as %+v", m)
	}
	m, err := r.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if lost := Incomplete(&m.Session); len(lost) != 1 || lost[0].Rank != 2 {
		t.Errorf("incomplete are %+v", lost)
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	if rep, err := Report(dir); rep != nil || err != nil {
		t.Errorf("of a run without one: %v, %v", rep, err)
	}
	for text, ok := range map[string]bool{`{"schema_version": 99}`: true, `{`: false} {
		if err := os.WriteFile(filepath.Join(dir, ReportName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if rep, err := Report(dir); rep != nil || (err == nil) != ok {
			t.Errorf("%s: %v, %v", text, rep, err)
		}
	}
	if got := Analyze(&session.Status{}, nil, nil); got.SchemaVersion != pipeline.SchemaVersion {
		t.Errorf("%+v", got)
	}
}
