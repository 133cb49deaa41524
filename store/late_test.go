package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// What comes after a run's end is listed beside its manifest, which stays as it is.
func TestLateFilesAreListed(t *testing.T) {
	r := create(t, newStore(t), "", 1)
	m := finish(t, r, "in time")
	id := m.Session.Stages[0].Ranks[0].RankID
	before, err := os.ReadFile(filepath.Join(r.Dir(), ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{LateDir + "/a.ksrec", LateDir + "/b.ksrec"} { // it comes back twice
		a, err := r.Write(name, protocol.KindRecording, strings.NewReader("late "+name))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.FinishLate(id, []protocol.Artifact{a}); err != nil {
			t.Fatal(err)
		}
		now, err := r.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		k := now.Session.Rank(id)
		if got := len(now.Artifacts()) - len(m.Artifacts()); got != i+1 || !strings.Contains(k.Reason, LateDir) {
			t.Errorf("%d files came late, want %d; %q", got, i+1, k.Reason)
		}
		if err := r.Verify(); err != nil {
			t.Error(err)
		}
	}
	after, err := os.ReadFile(filepath.Join(r.Dir(), ManifestName))
	if err != nil || string(after) != string(before) {
		t.Errorf("the manifest was written again: %v", err)
	}
	if err := os.WriteFile(filepath.Join(r.Dir(), LateDir, "a.ksrec"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); err == nil || !strings.Contains(err.Error(), "a.ksrec") {
		t.Errorf("a late file was changed: %v", err)
	}
}

// A list that cannot be right is an error, and leads nowhere out of the run.
func TestBadLateListsAreErrors(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":         `{`,
		"newer":           `{"schema_version": 99}`,
		"unknown rank":    `{"schema_version": 1, "rank": {"pipeline": "other", "stage": 9}}`,
		"out of the run":  `{"schema_version": 1, "rank": {}, "artifacts": [{"name": "../../etc/passwd"}]}`,
		"an absolute one": `{"schema_version": 1, "rank": {}, "artifacts": [{"name": "/etc/passwd"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := create(t, newStore(t), "", 1)
			finish(t, r, "in time")
			if _, err := r.Write(lateList+"x_0.json", "manifest", strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Manifest(); err == nil || !strings.Contains(err.Error(), "manifest_x_0.json") {
				t.Errorf("it is read: %v", err)
			}
		})
	}
}

func FuzzLate(f *testing.F) {
	f.Add([]byte(`{"schema_version": 1, "rank": {"pipeline": "p"}, "artifacts": [{"name": "late/a"}]}`))
	f.Add([]byte(`{"schema_version": 1, "artifacts": [{"name": "../a"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLate(b)
		for _, a := range l.Artifacts {
			if err == nil && !filepath.IsLocal(a.Name) {
				t.Errorf("%q leads out of the run", a.Name)
			}
		}
	})
}
