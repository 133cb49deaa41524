package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

var at = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "runs"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *Store, prefix string, ms uint64) *Run {
	t.Helper()
	r, err := s.Create(at, prefix, ulid.MustNew(ms, ulid.DefaultEntropy()).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func finish(t *testing.T, r *Run, content string) *Manifest {
	t.Helper()
	id := protocol.RankID{Pipeline: "omni", Rank: 1}
	a, err := r.Write(ArtifactName(id, "thinker", "trace", ".json.gz"), "trace", strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	info, _ := parseDirName(filepath.Base(r.Dir()))
	m := Manifest{Session: session.Status{ID: info.ID, State: session.StateComplete, Stages: []session.StageStatus{{
		Name: "thinker", Ranks: []protocol.RankStatus{{RankID: id, State: protocol.StateComplete,
			Artifacts: []protocol.Artifact{a}}},
	}}}, Config: RunConfig{Stages: map[int]protocol.ProfilerConfig{0: protocol.DefaultProfilerConfig()}}}
	if err := r.Finish(m); err != nil {
		t.Fatal(err)
	}
	m.SchemaVersion = SchemaVersion
	return &m
}

func TestRoundTrip(t *testing.T) {
	s := newStore(t)
	r := create(t, s, "my run_1", 1)
	want := finish(t, r, "hello")
	got, err := r.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("manifest (-want +got):\n%s", d)
	}
	a := got.Artifacts()[0]
	// echo -n hello | sha256sum
	if a.Name != "stage0_thinker/trace_rank1.json.gz" || a.Size != 5 ||
		a.SHA256 != "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" {
		t.Fatalf("artifact %+v", a)
	}
	if err := r.Verify(); err != nil {
		t.Fatal(err)
	}
	infos, err := s.List()
	if err != nil || len(infos) != 1 || infos[0].Prefix != "my run_1" || !infos[0].Complete || !infos[0].At.Equal(at) {
		t.Fatalf("List() = %+v, %v", infos, err)
	}
	if err := r.Finish(*want); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second manifest: %v, want fs.ErrExist", err)
	}
}

func TestVerifyNamesEveryDamage(t *testing.T) {
	r := create(t, newStore(t), "", 1)
	name := finish(t, r, "hello").Artifacts()[0].Name
	file := filepath.Join(r.Dir(), filepath.FromSlash(name))
	for content, want := range map[string]string{"hellx": "SHA-256", "hell": "4 bytes"} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("%q: error %v, want %q and the name", content, err, want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing file: %v", err)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	s := newStore(t)
	r := create(t, s, "", 1)
	const writers = 8
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() { _, errs[i] = r.Write("a/b", "trace", strings.NewReader(strings.Repeat("x", i+1))) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, fs.ErrExist) {
			t.Errorf("loser: %v, want fs.ErrExist", err)
		}
	}
	if won != 1 {
		t.Fatalf("%d writers won", won)
	}
	if _, err := s.Create(at, "", filepath.Base(r.Dir())[len(timeLayout)+1:]); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second Create: %v", err)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	r := create(t, newStore(t), "", 1)
	src := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("cable pulled")))
	if _, err := r.Write("d/f", "trace", src); err == nil || !strings.Contains(err.Error(), "cable pulled") {
		t.Fatalf("error %v", err)
	}
	left, err := os.ReadDir(filepath.Join(r.Dir(), "d"))
	if err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
}

func TestNamesStayInsideTheRun(t *testing.T) {
	r := create(t, newStore(t), "", 1)
	secret := filepath.Join(filepath.Dir(r.Dir()), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(r.Dir(), "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "..", "../secret", "/etc/passwd", "a/../../secret", "./x", "a//b", `..\secret`,
		"a\x00b", "link"} {
		if f, err := r.Open(name); err == nil {
			f.Close()
			t.Errorf("Open(%q) succeeded", name)
		}
		if name == "link" {
			continue
		}
		if _, err := r.Write(name, "trace", strings.NewReader("x")); err == nil {
			t.Errorf("Write(%q) succeeded", name)
		}
	}
	if err := r.Finish(
		Manifest{Session: session.Status{Artifacts: []protocol.Artifact{{Name: "../secret"}}}}); err == nil {
		t.Error("a manifest that leads outside was written")
	}
	if f, err := r.Open("."); err == nil {
		f.Close()
		t.Error("a directory was opened as an artifact")
	}
}

func TestResolve(t *testing.T) {
	s := newStore(t)
	if _, err := s.Resolve("latest"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("empty store: %v", err)
	}
	old, young, open := create(t, s, "", 1_000), create(t, s, "p", 2_000_000_000), create(t, s, "", 3_000_000_000)
	finish(t, old, "1")
	m := finish(t, young, "2")
	for _, ref := range []string{"", "latest", m.Session.ID, strings.ToLower(m.Session.ID[:8]),
		filepath.Base(young.Dir()), young.Dir()} {
		r, err := s.Resolve(ref)
		if err != nil {
			t.Errorf("Resolve(%q): %v", ref, err)
			continue
		}
		if r.Dir() != young.Dir() {
			t.Errorf("Resolve(%q) = %s, want %s", ref, r.Dir(), young.Dir())
		}
		r.Close()
	}
	for ref, want := range map[string]string{"0": "ambiguous", "ZZ": "not found", open.Dir(): "not finished"} {
		if _, err := s.Resolve(ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Resolve(%q): %v, want %q", ref, err, want)
		}
	}
}

func TestPruneKeepsWhatIsNamed(t *testing.T) {
	r := create(t, newStore(t), "", 1)
	keep, err := r.Write("s/recording", "recording", strings.NewReader("r"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Write("s/half", "trace", strings.NewReader("h")); err != nil {
		t.Fatal(err)
	}
	if err := r.Prune([]protocol.Artifact{keep}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open("s/half"); !errors.Is(err, ErrNotFound) {
		t.Errorf("half: %v", err)
	}
	f, err := r.Open("s/recording")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	finish(t, r, "x")
	if err := r.Prune(nil); err == nil {
		t.Error("a finished run was pruned")
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schema_version":1,"session":{"id":"x","artifacts":[{"name":"timeline.pftrace"}]}}`))
	f.Add([]byte(`{"schema_version":2}`))
	f.Add([]byte(`{"schema_version":1,"session":{"artifacts":[{"name":"../../x"}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		for _, a := range m.Artifacts() {
			if !filepath.IsLocal(a.Name) {
				t.Fatalf("accepted artifact %q", a.Name)
			}
		}
	})
}

func FuzzDirName(f *testing.F) {
	f.Add("20260304-050607_p_q_01ARZ3NDEKTSV4RRFFQ69G5FAV")
	f.Add("20260304-050607_01ARZ3NDEKTSV4RRFFQ69G5FAV")
	f.Fuzz(func(t *testing.T, name string) {
		if i, ok := parseDirName(name); ok && !strings.HasSuffix(name, i.ID) {
			t.Fatalf("%q has id %q", name, i.ID)
		}
	})
}

// TestAManifestIsReadOnce: all readers of a run that was opened see one manifest, also when
// files come while they read; whoever opens the run then sees these.
func TestAManifestIsReadOnce(t *testing.T) {
	r := create(t, newStore(t), "", 1)
	finish(t, r, "in time")
	opened, err := OpenRun(r.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	before, err := opened.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.Write(LateDir+"/a.ksrec", protocol.KindRecording, strings.NewReader("late"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.FinishLate(before.Session.Stages[0].Ranks[0].RankID, []protocol.Artifact{a}); err != nil {
		t.Fatal(err)
	}
	if after, err := opened.Manifest(); err != nil || after != before {
		t.Errorf("the run was read again: %v", err)
	}
	again, err := OpenRun(r.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if now, err := again.Manifest(); err != nil || len(now.Artifacts()) != len(before.Artifacts())+1 {
		t.Errorf("%d artifacts after one came late, %d before (%v)", len(now.Artifacts()), len(before.Artifacts()), err)
	}
}

// Somebody removes the directory of the store while a server keeps runs in it.
func TestARemovedStoreIsEmptyAndMadeAnew(t *testing.T) {
	s := newStore(t)
	finish(t, create(t, s, "gone", 1), "x")
	for _, use := range []func() error{
		func() error { return s.Room(1) },
		func() error { finish(t, create(t, s, "new", 2), "y"); return nil },
	} {
		if err := os.RemoveAll(s.Root()); err != nil {
			t.Fatal(err)
		}
		if list, err := s.List(); err != nil || len(list) > 0 {
			t.Errorf("%v, %v", list, err)
		}
		if _, err := s.Resolve("latest"); !errors.Is(err, ErrNotFound) {
			t.Errorf("latest: %v", err)
		}
		if err := use(); err != nil {
			t.Error(err)
		}
	}
}
