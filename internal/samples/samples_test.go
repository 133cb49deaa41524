package samples

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/native"
)

// each runs f for the samples of each day.
func each(t *testing.T, name string, f func(t *testing.T, content []byte)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*", name))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d samples of %s, %v", len(files), name, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f(t, b)
		})
	}
}

// TestRecordings: all rows of a recording of any day are read.
func TestRecordings(t *testing.T) {
	each(t, "recording.ksrec", func(t *testing.T, content []byte) {
		tr, info, err := native.Read(context.Background(), bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]int{}
		for _, n := range tr.Slices.Name {
			names[tr.String(n)]++
		}
		if names["decode_step"] != 3 || names["aten::mm"] != 3 || len(tr.Counters.Value) != 3 ||
			tr.Repairs.Damage() != "" {
			t.Errorf("slices %v, %d counters, repairs %q", names, len(tr.Counters.Value), tr.Repairs.Damage())
		}
		if info == nil {
			t.Error("the recording says nothing of itself")
		}
		newer := bytes.Clone(content)
		newer[7]++ // the version
		if _, _, err := native.Read(context.Background(), bytes.NewReader(newer)); err == nil ||
			!strings.Contains(err.Error(), "version") {
			t.Errorf("of a version that is not known: %v", err)
		}
	})
}

// TestMessages: nothing that a message or a manifest of any day said is lost on today's
// code: read and written again it still says all of it.
func TestMessages(t *testing.T) {
	types := Messages()
	each(t, "messages.json", func(t *testing.T, content []byte) {
		var all map[string]json.RawMessage
		if err := json.Unmarshal(content, &all); err != nil {
			t.Fatal(err)
		}
		if len(all) != len(types) {
			t.Errorf("%d messages, %d are known", len(all), len(types))
		}
		for name, text := range all {
			v := reflect.New(reflect.TypeOf(types[name]))
			if err := json.Unmarshal(text, v.Interface()); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			again, err := json.Marshal(v.Interface())
			if err != nil {
				t.Fatal(err)
			}
			var before, after any
			if err := errors.Join(json.Unmarshal(text, &before), json.Unmarshal(again, &after)); err != nil {
				t.Fatal(err)
			}
			lost(before, after, name, func(path string) { t.Errorf("%s is lost", path) })
		}
	})
}

// lost tells the paths of values that are in a and not in b.
func lost(a, b any, path string, tell func(path string)) {
	switch a := a.(type) {
	case map[string]any:
		m, _ := b.(map[string]any)
		for k, v := range a {
			lost(v, m[k], path+"."+k, tell)
		}
	case []any:
		l, _ := b.([]any)
		for i, v := range a {
			if i >= len(l) {
				tell(fmt.Sprintf("%s[%d]", path, i))
				return
			}
			lost(v, l[i], fmt.Sprintf("%s[%d]", path, i), tell)
		}
	default:
		if !reflect.DeepEqual(a, b) {
			tell(path)
		}
	}
}

// TestManifests: a run of any day is listed and opened, one of a layout to come is refused
// in words.
func TestManifests(t *testing.T) {
	each(t, "messages.json", func(t *testing.T, content []byte) {
		var all map[string]json.RawMessage
		if err := json.Unmarshal(content, &all); err != nil {
			t.Fatal(err)
		}
		open := func(manifest []byte) (*store.Manifest, error) {
			root := t.TempDir()
			dir := filepath.Join(root, "20261123-160919_01M84JPGKD1F6DJP5AGT4TD8KA")
			if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, store.ManifestName), manifest,
				0o600)); err != nil {
				t.Fatal(err)
			}
			s, err := store.Open(root)
			if err != nil {
				t.Fatal(err)
			}
			if list, err := s.List(); err != nil || len(list) != 1 || !list[0].Complete {
				t.Errorf("listed as %+v, %v", list, err)
			}
			run, err := s.Reopen(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			return run.Manifest()
		}
		m, err := open(all["manifest"])
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Session.Stages) != 1 || len(m.Session.Stages[0].Ranks) != 1 || len(m.Artifacts()) == 0 {
			t.Errorf("session %+v", m.Session)
		}
		newer := bytes.Replace(all["manifest"], []byte(`"schema_version": 1`), []byte(`"schema_version": 2`), 1)
		if _, err := open(newer); err == nil ||
			!strings.Contains(err.Error(), "schema_version 2, this program reads 1") {
			t.Errorf("of a layout that is not known: %v", err)
		}
	})
}

// TestIndexes: today's indexes are read; any other is stale, so that the trace itself is read
// and the index made anew.
func TestIndexes(t *testing.T) {
	read := 0
	each(t, "trace.ktindex", func(t *testing.T, content []byte) {
		stamp := index.Stamp{Size: 100, ModTime: 200}
		tr, err := index.Read(bytes.Clone(content), stamp)
		switch {
		case errors.Is(err, index.ErrStale):
			return
		case err != nil:
			t.Fatal(err)
		}
		read++
		if tr.Meta.Rank != 3 || tr.Slices.Len() != 2 || tr.String(tr.Slices.Name[0]) != "aten::mm" ||
			tr.Slices.Track[1] == tr.Slices.Track[0] ||
			tr.Tracks[tr.Slices.Track[1]].Kind != trace.TrackGPU {
			t.Errorf("rank %d, %d slices, tracks %+v", tr.Meta.Rank, tr.Slices.Len(), tr.Tracks)
		}
		newer := bytes.Clone(content)
		newer[7]++ // the version
		if _, err := index.Read(newer, stamp); !errors.Is(err, index.ErrStale) {
			t.Errorf("of a version that is not known: %v", err)
		}
	})
	if read == 0 {
		t.Error("no sample is of the version of today: run gen")
	}
}
