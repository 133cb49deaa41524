package native

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/protocol"
)

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// What an earlier process left is named, handed over by its session's id, and removed
// when the hub has it; nothing else in the spool is touched.
func TestLeftovers(t *testing.T) {
	u := newUnit(t)
	defer u.close()
	if got := u.left(); got != nil {
		t.Errorf("without a spool: %v", got)
	}
	old, empty := ulid.Make().String(), ulid.Make().String()
	mine := info.FileBase() + protocol.RecordingExt
	path := put(t, filepath.Join(u.spool, old, mine), "recorded")
	others := put(t, filepath.Join(u.spool, old, "stage7_replica0_rank0.ksrec"), "another rank's")
	put(t, filepath.Join(u.spool, empty, mine), "")
	put(t, filepath.Join(u.spool, "notes", mine), "no session")
	outside := put(t, filepath.Join(filepath.Dir(u.spool), "outside", mine), "not in the spool")
	if diff := cmp.Diff([]string{path}, u.left()); diff != "" {
		t.Error(diff)
	}
	own := u.arm(protocol.ProfilerConfig{}, nil)
	u.start(own)
	s, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: old})
	if err != nil || s.State != protocol.StateStopped || len(over.Files) != 1 || over.Files[0].Path != path {
		t.Fatalf("%+v, %+v, %v", s, over.Files, err)
	}
	for _, id := range []string{empty, "notes", "../outside", "", ulid.Make().String()} {
		if _, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: id}); err == nil ||
			over.Files != nil {
			t.Errorf("%q: %+v, %v", id, over.Files, err)
		}
		if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: id}); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, keep := range []bool{true, false} {
		if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: old, Keep: keep}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); (err == nil) != keep {
			t.Errorf("after an abort with keep %v: %v", keep, err)
		}
	}
	for _, p := range []string{others, outside} {
		if _, err := os.Stat(p); err != nil {
			t.Error(err)
		}
	}
	u.iterate(1)
	u.stop(own)
}

// A session that a busy rank has forgotten is handed over all the same.
func TestForgottenSessionIsALeftover(t *testing.T) {
	u := newUnit(t)
	defer u.close()
	var first string
	for range 9 {
		id := u.arm(protocol.ProfilerConfig{}, nil)
		u.start(id)
		u.iterate(1)
		u.stop(id)
		if first == "" {
			first = id
		}
	}
	_, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: first})
	if err != nil || len(over.Files) != 1 || spans(t, over.Files[0].Path) != 1 {
		t.Fatalf("%+v, %v", over.Files, err)
	}
}
