package web

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/catalog"
	traceopen "github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/web/api"
	"github.com/kinetoscope/kinetoscope/web/view"
)

const foreignTrace = `{"traceEvents":[{"ph":"X","name":"a","ts":1,"dur":2,"pid":1,"tid":1}]}`

// shelf starts a server with a store of two runs and returns their ids, older first.
func shelf(t *testing.T, keys ...Key) (url string, ids []string) {
	t.Helper()
	_, url, ids = shelfWith(t, func(c *Config) { c.Keys = keys })
	return url, ids
}

// shelfWith is shelf with another configuration; it returns the server, too.
func shelfWith(t *testing.T, change func(*Config)) (srv *Server, url string, ids []string) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i, prefix := range []string{"old", "new"} {
		at := time.Now().Add(time.Duration(i-2) * time.Hour)
		id := ulid.MustNew(ulid.Timestamp(at), ulid.DefaultEntropy()).String()
		r, err := s.Create(at, prefix, id)
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.Write("stage0_thinker/trace_rank0.json", protocol.KindTrace, strings.NewReader(foreignTrace))
		if err != nil {
			t.Fatal(err)
		}
		st := session.Status{ID: id, State: session.StateComplete, Prefix: prefix, StartedAt: at,
			Stages: []session.StageStatus{{Name: "thinker", Ranks: []protocol.RankStatus{{
				State: protocol.StateComplete, StageName: "thinker", Artifacts: []protocol.Artifact{a}}}}}}
		if err := errors.Join(r.Finish(store.Manifest{Session: st}), r.Close()); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	timelines := view.New(view.Config{Library: view.Runs{Root: s.Root(), Reading: traceopen.Options{}}})
	t.Cleanup(timelines.Close)
	srv, url = start(t, newOmni(), func(c *Config) {
		c.Catalog, c.View = catalog.New(s, nil, catalog.Limits{MaxUpload: 4000}), timelines
		change(c)
	})
	return srv, url, ids
}

func TestRunsEndpoints(t *testing.T) {
	url, ids := shelf(t)
	list := func(query string) api.RunList {
		t.Helper()
		status, _, body := call(t, "GET", url+api.RunsPath+query, "")
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		return parse[api.RunList](t, body)
	}
	if l := list(""); l.Matched != 2 || l.Items[0].ID != ids[1] || l.Bytes != int64(2*len(foreignTrace)) ||
		l.FreeBytes == nil || l.Uploads.MaxBytes != 4000 || l.Retention.MaxBytes != 0 {
		t.Errorf("%+v", l)
	}
	run := url + api.RunPath(ids[0])
	status, _, body := call(t, "PATCH", run, `{"tags":["a","b"],"pinned":true,"note":"why"}`)
	if it := parse[catalog.Item](t, body); status != 200 || !it.Pinned || len(it.Tags) != 2 || it.Note != "why" {
		t.Errorf("%d %s", status, body)
	}
	if l := list(
		"?tag=a&tag=b&q=OLD+why&pinned=true&health=whole&kind=session&sort=size&order=asc&limit=5&offset=0"); len(
		l.Items) != 1 || l.Items[0].ID != ids[0] {
		t.Errorf("%+v", l)
	}
	for _, q := range []string{"?sort=colour", "?limit=0", "?limit=x", "?order=up", "?pinned=perhaps", "?nonsense=1",
		"?q=a&q=b", "?health=ill"} {
		if status, _, body := call(t, "GET", url+api.RunsPath+q, ""); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", q, status, body)
		}
	}
	if status, _, body := call(t, "PATCH", run, `{"notes":"spelled wrong"}`); status != 400 ||
		!strings.Contains(body, `unknown field \"notes\"`) {
		t.Errorf("an unknown field: %d %s", status, body)
	}
	for _, b := range []string{`{"tags":[""]}`, `{"tags":"a"}`, `{`, `{"note":"\u0001"}`} {
		if status, _, body := call(t, "PATCH", run, b); status != 400 && status != 422 {
			t.Errorf("%s: %d %s", b, status, body)
		}
	}
	for _, id := range []string{"nope", ulid.Make().String(), ids[0][:8], "..%2f.."} {
		for _, method := range []string{"GET", "DELETE", "PATCH"} {
			if status, _, body := call(t, method, url+api.RunsPath+"/"+id, "{}"); status != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", method, id, status, body)
			}
		}
	}
	if status, _, body := call(t, "DELETE", run, ""); status != http.StatusConflict ||
		parse[api.ErrorBody](t, body).Error.Code == nil || *parse[api.ErrorBody](t, body).Error.Code != "run_pinned" ||
		!strings.Contains(parse[api.ErrorBody](t, body).Hint, "--no-pin") {
		t.Errorf("a pinned run: %d %s", status, body)
	}
	if status, _, body := call(t, "DELETE", url+api.RunPath(ids[1]), ""); status != 200 ||
		!parse[api.Deleted](t, body).Deleted {
		t.Errorf("%d %s", status, body)
	}
	if l := list(""); l.Runs != 1 {
		t.Errorf("%+v", l)
	}
}

func TestRunArchive(t *testing.T) {
	url, ids := shelf(t)
	status, h, body := call(t, "GET", url+api.RunPath(ids[0])+"/archive", "")
	if status != 200 || !strings.Contains(h.Get("Content-Disposition"), ids[0]+".tar") {
		t.Fatalf("%d %v", status, h)
	}
	n := 0
	for tr := tar.NewReader(strings.NewReader(body)); ; n++ {
		if _, err := tr.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != 2 {
		t.Errorf("%d files", n)
	}
	if status, _, _ := call(t, "GET", url+api.RunPath(ulid.Make().String())+"/archive", ""); status != 404 {
		t.Errorf("no run: %d", status)
	}
}

// damagedArchives are archives of which no file can be read.
func damagedArchives(t *testing.T) map[string]string {
	t.Helper()
	var z, b bytes.Buffer
	zw, tw := zip.NewWriter(&z), tar.NewWriter(&b)
	w, err := zw.Create("a.json")
	if err == nil {
		_, err = io.WriteString(w, foreignTrace)
	}
	err = errors.Join(err, zw.Close(),
		tw.WriteHeader(&tar.Header{Name: "a.json", Size: int64(len(foreignTrace)), Mode: 0o600}))
	_, err2 := io.WriteString(tw, foreignTrace)
	if err = errors.Join(err, err2, tw.Close()); err != nil {
		t.Fatal(err)
	}
	header := b.Bytes()
	copy(header[100:], "\xff\xff\xff\xff") // the mode, and with it the checksum
	return map[string]string{"zip": z.String()[:z.Len()-10], "tar": string(header)}
}

// A trace of elsewhere that is brought opens in the timeline; what is none leaves nothing.
func TestRunUpload(t *testing.T) {
	url, _ := shelf(t)
	status, _, body := call(t, "POST", url+api.RunsPath+"?name=their+trace.json", foreignTrace)
	it := parse[catalog.Item](t, body)
	if status != http.StatusCreated || it.Upload == nil || it.Upload.Name != "their trace.json" {
		t.Fatalf("%d %s", status, body)
	}
	for range 100 {
		_, _, body = call(t, "GET", url+api.RunPath(it.ID)+"/view", "")
		if strings.Contains(body, `"ready"`) {
			break
		}
	}
	if !strings.Contains(body, `"slices":1`) {
		t.Errorf("the view is %s", body)
	}
	for _, tt := range []struct {
		query, body string
		want        int
		header      []string
	}{
		{"?name=a.json", "hello", 415, nil},
		{"?name=a.json", foreignTrace + strings.Repeat(" ", 4000), 413, nil},
		{"", foreignTrace, 400, nil},
		{"?name=../a", foreignTrace, 400, nil},
		{"?name=a&more=b", foreignTrace, 400, nil},
		{"?name=a", foreignTrace, 400, []string{"Content-Type", "multipart/form-data; boundary=x"}},
	} {
		if status, _, body := call(t, "POST", url+api.RunsPath+tt.query, tt.body, tt.header...); status != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.query, status, body, tt.want)
		}
	}
	for what, body := range damagedArchives(t) {
		status, _, answer := call(t, "POST", url+api.RunsPath+"?name=a."+what, body)
		if status != http.StatusBadRequest || !strings.Contains(answer, "is a damaged archive") {
			t.Errorf("a damaged %s: %d %s", what, status, answer)
		}
	}
	_, _, body = call(t, "GET", url+api.RunsPath+"?kind=upload", "")
	if l := parse[api.RunList](t, body); l.Matched != 1 || l.Runs != 3 {
		t.Errorf("%s", body)
	}
}

// A key that reads changes nothing, one that profiles labels and brings, an admin's deletes.
func TestRunScopes(t *testing.T) {
	url, ids := shelf(t, Key{ScopeRead, "reads"}, Key{ScopeProfile, "profiles"}, Key{ScopeAdmin, "rules"})
	for _, tt := range []struct {
		method, path, body string
		want               []int // nobody, reads, profiles, rules
	}{
		{"GET", "", "", []int{401, 200, 200, 200}},
		{"GET", "/" + ids[0] + "/archive", "", []int{401, 200, 200, 200}},
		{"PATCH", "/" + ids[0], `{"note":"n"}`, []int{401, 403, 200, 200}},
		{"POST", "?name=a.json", foreignTrace, []int{401, 403, 201, 201}},
		{"DELETE", "/" + ids[0], "", []int{401, 403, 403, 200}},
	} {
		for i, key := range []string{"", "reads", "profiles", "rules"} {
			var header []string
			if key != "" {
				header = []string{"Authorization", "Bearer " + key}
			}
			if status, _, body := call(t, tt.method, url+api.RunsPath+tt.path, tt.body,
				header...); status != tt.want[i] {
				t.Errorf("%s %s with %q: %d %s, want %d", tt.method, tt.path, key, status, body, tt.want[i])
			}
		}
	}
}
