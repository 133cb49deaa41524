package catalog

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// shelf is a catalog on a store of its own.
type shelf struct {
	*Catalog
	t  *testing.T
	st *store.Store
}

func newShelf(t *testing.T, who Sessions, l Limits) *shelf {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &shelf{New(st, who, l), t, st}
}

// put makes a finished run of one rank whose file has so many bytes.
func (s *shelf) put(prefix string, at time.Time, size int, change func(*session.Status)) string {
	s.t.Helper()
	id := ulid.MustNew(ulid.Timestamp(at), ulid.DefaultEntropy()).String()
	r, err := s.st.Create(at, prefix, id)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	a, err := r.Write("stage0_thinker/trace_rank0.json", protocol.KindTrace,
		strings.NewReader(strings.Repeat("x", size)))
	if err != nil {
		s.t.Fatal(err)
	}
	st := session.Status{ID: id, State: session.StateComplete, Prefix: prefix, StartedAt: at, Pipeline: "omni",
		Stages: []session.StageStatus{{Name: "thinker", Ranks: []protocol.RankStatus{{State: protocol.StateComplete,
			StartedAtNs: 1e9, StoppedAtNs: 3e9, Events: 7, Artifacts: []protocol.Artifact{a}}}}}}
	if change != nil {
		change(&st)
	}
	if err := r.Finish(store.Manifest{Session: st}); err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s *shelf) ids(q Query) []string {
	s.t.Helper()
	f, err := s.Search(q)
	if err != nil {
		s.t.Fatalf("%+v: %v", q, err)
	}
	var out []string
	for _, it := range f.Items {
		out = append(out, it.Prefix)
	}
	return out
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func TestSearch(t *testing.T) {
	s := newShelf(t, nil, Limits{})
	a := s.put("alpha", noon, 30, nil)
	s.put("beta", noon.Add(time.Hour), 10, func(st *session.Status) {
		st.State, st.Error = session.StatePartial, "rank 0 was lost"
		st.Stages[0].Ranks[0].State = protocol.StateLost
		st.Stages[0].Ranks[0].StoppedAtNs = 9e9
	})
	s.put("gamma", noon.Add(2*time.Hour), 20, func(st *session.Status) { st.Stages[0].Ranks[0].Drops = 3 })
	yes, tags, note := true, []string{"night", " baseline "}, "the one\nto keep"
	it, err := s.Label(a, Patch{&yes, &tags, &note})
	if err != nil || !it.Pinned || strings.Join(it.Tags, "|") != "baseline|night" || it.Note != note {
		t.Fatalf("%+v, %v", it, err)
	}
	for name, tt := range map[string]struct {
		q    Query
		want string
	}{
		"all":          {Query{}, "gamma beta alpha"},
		"least first":  {Query{Sort: SortSize, Up: true}, "beta gamma alpha"},
		"longest":      {Query{Sort: SortDuration}, "beta gamma alpha"},
		"by name":      {Query{Sort: SortName, Up: true}, "alpha beta gamma"},
		"worst":        {Query{Sort: SortHealth}, "gamma beta alpha"},
		"words":        {Query{Text: "OMNI lost"}, "beta"},
		"of the note":  {Query{Text: "keep"}, "alpha"},
		"a tag":        {Query{Tags: []string{"night"}}, "alpha"},
		"two tags":     {Query{Tags: []string{"night", "other"}}, ""},
		"pinned":       {Query{Pinned: true}, "alpha"},
		"flawed":       {Query{Health: HealthFlawed}, "gamma beta"},
		"partial":      {Query{State: session.StatePartial}, "beta"},
		"no uploads":   {Query{Kind: KindUpload}, ""},
		"second page":  {Query{Offset: 1, Limit: 1}, "beta"},
		"far too late": {Query{Offset: 9}, ""},
	} {
		if got := strings.Join(s.ids(tt.q), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	f, err := s.Search(Query{Limit: 1})
	if err != nil || f.Matched != 3 || f.Runs != 3 || f.Bytes != 60 || strings.Join(f.Tags, " ") != "baseline night" {
		t.Errorf("%+v, %v", f, err)
	}
	if it := f.Items[0]; it.Health != HealthFlawed || !strings.Contains(it.Why, "3 events") || it.RecordedNs != 2e9 ||
		it.Ranks != 1 || it.Complete != 1 || it.Events != 7 {
		t.Errorf("%+v", it)
	}
	for _, q := range []Query{{Sort: "colour"}, {Health: "well"}, {Kind: "x"}, {State: "armed"}, {Limit: -1},
		{Limit: MaxLimit + 1}, {Offset: -1}} {
		if _, err := s.Search(q); !isField(err) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

func isField(err error) bool {
	_, ok := errors.AsType[*protocol.FieldError](err)
	return ok
}

// A run whose manifest is damaged is listed as broken, and hides no other.
func TestBrokenRunsAreListed(t *testing.T) {
	s := newShelf(t, nil, Limits{})
	s.put("good", noon, 1, nil)
	id := s.put("bad", noon.Add(time.Hour), 1, nil)
	info, err := s.find(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(info.Dir, store.ManifestName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(info.Dir, LabelsName), []byte(`{"schema_version":1,"tags":["a,b"],"note":7`),
		0o600); err != nil {
		t.Fatal(err)
	}
	f, err := s.Search(Query{})
	if err != nil || len(f.Items) != 2 || f.Items[0].Health != HealthBroken || f.Items[0].Why == "" ||
		len(f.Items[0].Tags) != 0 || f.Items[1].Health != HealthWhole {
		t.Errorf("%+v, %v", f.Items, err)
	}
	if err := s.Delete(t.Context(), id); err != nil {
		t.Errorf("it cannot be deleted: %v", err)
	}
}

func TestLabelsAreChecked(t *testing.T) {
	s := newShelf(t, nil, Limits{})
	id := s.put("a", noon, 1, nil)
	long := strings.Repeat("n", MaxNote+1)
	var many []string
	for i := range MaxTags + 1 {
		many = append(many, fmt.Sprint(i))
	}
	for _, p := range []Patch{{Tags: &[]string{""}}, {Tags: &[]string{"a,b"}}, {Tags: &[]string{"a\nb"}}, {Tags: &many},
		{Tags: &[]string{strings.Repeat("t", MaxTag+1)}}, {Note: &long}, {Note: ptr("a\x00b")},
		{Tags: &[]string{"a\u202eb"}}, {Note: ptr("a\u2066b")}, {Note: ptr("a\u2028b")}} {
		if _, err := s.Label(id, p); !isField(err) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if _, err := s.Label("01ARZ3NDEKTSV4RRFFQ69G5FAV", Patch{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
	rev := s.Revision()
	if it, err := s.Label(id, Patch{Note: ptr("hello")}); err != nil || it.Note != "hello" || s.Revision() == rev {
		t.Errorf("%+v, %v", it, err)
	}
}

func ptr[T any](v T) *T { return &v }

func FuzzLabels(f *testing.F) {
	f.Add([]byte(`{"schema_version":1,"pinned":true,"tags":["a","b"],"note":"n"}`))
	f.Add([]byte(`{"schema_version":1,"tags":["a,b"],"note":"\u0000"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := parseLabels(data)
		if err := (&Patch{Tags: &l.Tags, Note: &l.Note}).check(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	})
}

// busy has one session under way.
type busy string

func (b busy) Forget(_ context.Context, id string) error {
	if id == string(b) {
		return errors.New("under way")
	}
	return nil
}

func TestRetention(t *testing.T) {
	s := newShelf(t, nil, Limits{})
	day := 24 * time.Hour
	for i := range 6 { // the oldest is called 0
		s.put(fmt.Sprint(i), noon.Add(time.Duration(i)*day), 100, nil)
	}
	all, err := s.All()
	if err != nil {
		t.Fatal(err)
	}
	all[4].Pinned = true // called 1
	now := noon.Add(6 * day)
	for name, tt := range map[string]struct {
		p    Policy
		want string
	}{
		"for ever":     {Policy{}, ""},
		"three days":   {Policy{MaxAge: 3*day + time.Hour}, "0 2"},
		"an hour":      {Policy{MaxAge: time.Hour}, "0 2 3 4"}, // the youngest stays
		"all but one":  {Policy{MaxBytes: 599}, "0"},
		"half":         {Policy{MaxBytes: 300}, "0 2 3"},
		"one byte":     {Policy{MaxBytes: 1}, "0 2 3 4"},
		"both":         {Policy{MaxAge: 5 * day, MaxBytes: 450}, "0 2"},
		"enough space": {Policy{MaxBytes: 600}, ""},
	} {
		var got []string
		for _, d := range tt.p.choose(all, now) {
			if d.why == "" {
				t.Errorf("%s: %s goes for no reason", name, d.item.Prefix)
			}
			got = append(got, d.item.Prefix)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q go, want %q", name, got, tt.want)
		}
	}
}

// A sweep deletes runs, remembers which, and leaves what is pinned or under way.
func TestSweep(t *testing.T) {
	s := newShelf(t, nil, Limits{})
	old, pinned := s.put("old", noon, 1, nil), s.put("pinned", noon, 1, nil)
	live := s.put("live", noon, 1, nil)
	s.put("young", time.Now(), 1, nil)
	s.sessions = busy(live)
	if _, err := s.Label(pinned, Patch{Pinned: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.st.Root(), deletedPrefix+"half"), 0o700); err != nil {
		t.Fatal(err)
	}
	gone, err := s.Sweep(t.Context(), Policy{MaxAge: time.Hour}, time.Now())
	if len(gone) != 1 || gone[0].ID != old || err == nil || !strings.Contains(err.Error(), live) {
		t.Errorf("%+v, %v", gone, err)
	}
	if got := s.ids(Query{Sort: SortName, Up: true}); strings.Join(got, " ") != "live pinned young" {
		t.Errorf("%q are left", got)
	}
	if _, list := s.Retention(); len(list) != 1 || list[0].Prefix != "old" || list[0].Why == "" {
		t.Errorf("%+v", list)
	}
	left, err := os.ReadDir(s.st.Root())
	if err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }) {
		t.Errorf("%v, %v", left, err)
	}
	if _, ok := errors.AsType[*PinnedError](s.Delete(t.Context(), pinned)); !ok {
		t.Error("a pinned run was deleted")
	}
}

// Remains of an upload whose server was killed go once nothing can come of it any more; an upload that is under
// way and a session that has not ended stay.
func TestCutUploadsGo(t *testing.T) {
	s := newShelf(t, nil, Limits{})
	begin := func(ms uint64, name string) string {
		r, err := s.st.Create(noon, "", ulid.MustNew(ms, ulid.DefaultEntropy()).String())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := r.Write(name, protocol.KindTrace, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		return filepath.Base(r.Dir())
	}
	begin(1, "upload/trace.json")
	session := begin(2, "stage0_thinker/recording_rank0.ksrec")
	left := func(at time.Time) string {
		if gone, err := s.Sweep(t.Context(), Policy{}, at); err != nil || len(gone) > 0 {
			t.Errorf("%v, %v", gone, err)
		}
		names, err := fs.Glob(os.DirFS(s.st.Root()), "*")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(names, " ")
	}
	if got := left(time.Now()); !strings.Contains(got, " ") {
		t.Errorf("one that is under way has gone: %s", got)
	}
	if got := left(time.Now().Add(2 * cutAfter)); got != session {
		t.Errorf("%s are left, want %s", got, session)
	}
	if err := os.RemoveAll(s.st.Root()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context(), Policy{}, time.Now()); err != nil {
		t.Errorf("a store that was removed: %v", err)
	}
}

func TestArchive(t *testing.T) {
	s := newShelf(t, nil, Limits{})
	id := s.put("a", noon, 5, nil)
	if _, err := s.Label(id, Patch{Note: ptr("n")}); err != nil {
		t.Fatal(err)
	}
	files := func() map[string]string {
		var b bytes.Buffer
		if err := s.Archive(t.Context(), id, &b); err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for tr := tar.NewReader(&b); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				return out
			}
			data, e := io.ReadAll(tr)
			if err != nil || e != nil {
				t.Fatal(err, e)
			}
			base, name, _ := strings.Cut(h.Name, "/")
			if !strings.HasSuffix(base, id) {
				t.Errorf("%s", h.Name)
			}
			out[name] = string(data)
		}
	}
	got := files()
	if len(got) != 3 || got["stage0_thinker/trace_rank0.json"] != "xxxxx" || got[store.ManifestName] == "" ||
		!strings.Contains(got[LabelsName], `"n"`) {
		t.Errorf("%v", got)
	}
	info, err := s.find(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(info.Dir, "stage0_thinker", "trace_rank0.json")); err != nil {
		t.Fatal(err)
	}
	if got = files(); !strings.Contains(got[absentName], "trace_rank0.json") {
		t.Errorf("a file that is not there is left out in silence: %v", got)
	}
	var b bytes.Buffer
	if err := s.Archive(t.Context(), "01ARZ3NDEKTSV4RRFFQ69G5FAV", &b); !errors.Is(err, store.ErrNotFound) ||
		b.Len() > 0 {
		t.Errorf("%v, %d bytes", err, b.Len())
	}
}

const foreign = `{"traceEvents":[{"ph":"X","name":"a","ts":1,"dur":2,"pid":1,"tid":1}]}`

func TestUpload(t *testing.T) {
	s := newShelf(t, nil, Limits{MaxUpload: 1000, MaxUploads: 150})
	up := func(name, body string, size int64) (Item, error) {
		return s.Upload(t.Context(), name, size, strings.NewReader(body))
	}
	it, err := up("night run: 3.json", foreign, -1)
	if err != nil || it.Upload == nil || it.Upload.Name != "night run: 3.json" || it.Upload.Format == "" ||
		it.Prefix != "night run_ 3" || it.Health != HealthWhole || it.Bytes != int64(len(foreign)) {
		t.Fatalf("%+v, %v", it, err)
	}
	if _, err := up("..hidden", foreign, int64(len(foreign))); err != nil {
		t.Errorf("%v", err)
	}
	for name, tt := range map[string]struct {
		name, body string
		size       int64
		status     int
	}{
		"no trace":    {"a.txt", "hello", -1, 415},
		"a picture":   {"a.json", "\x89PNG\r\n\x1a\n\x00\x00", -1, 415},
		"nothing":     {"a.json", "", 0, 415},
		"said large":  {"a.json", foreign, 1001, 413},
		"is large":    {"a.json", foreign + strings.Repeat(" ", 1000), -1, 413},
		"no name":     {"", foreign, -1, 400},
		"a path":      {"../../etc/passwd", foreign, -1, 400},
		"a back path": {`a\b`, foreign, -1, 400},
		"no text":     {"a\x00b", foreign, -1, 400},
		"long name":   {strings.Repeat("n", 1000), foreign, -1, 400},
		"quota":       {"b.json", foreign, 100, 507},
		"more":        {"b.json", foreign, 10, 400},
	} {
		if name == "quota" {
			s.limits.MaxUploads = 2*int64(len(foreign)) + 10
		} else {
			s.limits.MaxUploads = 1 << 20
		}
		_, err := up(tt.name, tt.body, tt.size)
		if no, ok := errors.AsType[*UploadRefused](err); !ok || no.Status != tt.status || no.Why == "" ||
			strings.Contains(no.Why, s.st.Root()) {
			t.Errorf("%s: %v, want %d", name, err, tt.status)
		}
	}
	s.limits.MaxUploads = 1 << 20
	_, err = s.Upload(t.Context(), "c.json", -1, io.MultiReader(strings.NewReader(foreign[:20]), broken{}))
	if no, ok := errors.AsType[*UploadRefused](err); !ok || no.Status != http.StatusBadRequest {
		t.Errorf("half a file: %v", err)
	}
	left, err := os.ReadDir(s.st.Root())
	if err != nil || len(left) != 2 {
		t.Errorf("what was refused is still there: %v, %v", left, err)
	}
}

// All uploads together have no more than is allowed, whether or not their lengths are known before, and those
// that are under way count.
func TestUploadsTogether(t *testing.T) {
	n := int64(len(foreign))
	for _, size := range []int64{n, -1} {
		s := newShelf(t, nil, Limits{MaxUpload: 2 * n, MaxUploads: 2*n + n/2})
		upload := func(src io.Reader) error {
			_, err := s.Upload(t.Context(), "a.json", size, src)
			return err
		}
		refused := func(err error) bool {
			no, ok := errors.AsType[*UploadRefused](err)
			return ok && no.Status == http.StatusInsufficientStorage
		}
		var during error
		if err := upload(io.MultiReader(strings.NewReader(foreign), doing(func() {
			if err := upload(strings.NewReader(foreign)); size > 0 && err != nil {
				t.Errorf("the second of two that fit: %v", err)
			}
			during = upload(strings.NewReader(foreign))
		}))); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
		if !refused(during) {
			t.Errorf("size %d: a third one beside one that is under way: %v", size, during)
		}
		for range 2 {
			_ = upload(strings.NewReader(foreign))
		}
		if err := upload(strings.NewReader(foreign)); !refused(err) {
			t.Errorf("size %d: one more: %v", size, err)
		}
		var have int64
		all, err := s.All()
		for _, it := range all {
			have += it.Bytes
		}
		if err != nil || have > s.limits.MaxUploads || len(all) != 2 {
			t.Errorf("size %d: %d uploads have %d bytes of %d, %v", size, len(all), have, s.limits.MaxUploads, err)
		}
	}
}

// doing is a reader that does something at its end.
type doing func()

func (f doing) Read([]byte) (int, error) { f(); return 0, io.EOF }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the client went away") }

func FuzzUploadNames(f *testing.F) {
	for _, s := range []string{"a.json", "..", "...", ".a", "é.json", "a:b", "a\u202e.json",
		strings.Repeat("é", 90) + ".gz", "host.cluster." + strings.Repeat("x", maxStoredName-6) + ".json"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if len(name) > maxUploadName {
			return
		}
		if err := protocol.ValidatePrefix(prefixOf(name)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if plain(name) && strings.ContainsFunc(name, neutral.Command) {
			t.Errorf("%q is text on one line", name)
		}
		if got := storedName(name); !filepath.IsLocal(got) || strings.ContainsAny(got, `/\`) ||
			len(got) > maxStoredName || got[0] == '.' {
			t.Errorf("%q is stored as %q", name, got)
		}
	})
}

// FuzzUpload brings files that nobody's profiler wrote. One that is refused leaves nothing; one that is
// taken is a run whose files are as its manifest says, also in the archive that it is sent as.
func FuzzUpload(f *testing.F) {
	f.Add("a.json", []byte(foreign))
	f.Add("a.json.gz", []byte("\x1f\x8b\x08\x00"))
	f.Add("traces.tar", tarOf(f, map[string]string{"rank0.json": foreign, "../out.json": foreign,
		"/abs.json": foreign}))
	f.Add("run.ksrec", []byte("KSREC"))
	f.Add("a.zip", []byte("PK\x03\x04"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		s := newShelf(t, nil, Limits{MaxUpload: 1 << 20})
		it, err := s.Upload(t.Context(), name, int64(len(data)), bytes.NewReader(data))
		if err != nil {
			left, rerr := os.ReadDir(s.st.Root())
			if no, ok := errors.AsType[*UploadRefused](err); !ok || strings.Contains(no.Why, s.st.Root()) {
				t.Errorf("refused with %v", err)
			}
			if rerr != nil || len(left) > 0 {
				t.Errorf("what was refused left %v, %v", left, rerr)
			}
			return
		}
		r, err := s.st.Resolve(it.ID)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.Verify(); err != nil {
			t.Error(err)
		}
		var b bytes.Buffer
		if err := s.Archive(t.Context(), it.ID, &b); err != nil {
			t.Fatal(err)
		}
		found := false
		for in := tar.NewReader(&b); ; {
			h, err := in.Next()
			if err == io.EOF {
				break
			}
			if err != nil || !filepath.IsLocal(h.Name) {
				t.Fatalf("%+v, %v", h, err)
			}
			content, err := io.ReadAll(in)
			found = found || bytes.Equal(content, data)
			if err != nil {
				t.Fatal(err)
			}
		}
		if !found {
			t.Error("the archive lacks the file")
		}
	})
}

// tarOf is an archive of files by name.
func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
