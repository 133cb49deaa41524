package open

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/internal/badtraces"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

func lay(t testing.TB, files []badtraces.File) string {
	t.Helper()
	dir := t.TempDir()
	if err := badtraces.Lay(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestBad opens every kind of trouble as a directory.
func TestBad(t *testing.T) {
	for _, c := range badtraces.Cases() {
		t.Run(c.Kind+" "+c.Name, func(t *testing.T) {
			dir := lay(t, c.Files)
			var left []string
			o := Options{Left: func(l Left) {
				rel, err := filepath.Rel(dir, l.Path)
				if err != nil || l.Reason == "" {
					t.Errorf("left out %+v", l)
				}
				left = append(left, filepath.ToSlash(rel))
			}}
			list, err := Files(context.Background(), []string{dir}, o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			repairs := trace.Repairs{}
			for _, tr := range list {
				if err := tr.Validate(); err != nil {
					t.Error(err)
				}
				got = append(got, fmt.Sprintf("%s: %d", identity.Name(&tr.Meta), tr.Slices.Len()))
				for k, n := range tr.Repairs.Count {
					repairs.Add(k, n)
				}
			}
			slices.Sort(got)
			slices.Sort(left)
			if d := diff.Diff(slices.Sorted(slices.Values(c.Want)), got); d != "" {
				t.Error("traces", d)
			}
			if d := diff.Diff(c.Left, left); d != "" {
				t.Error("left out", d)
			}
			for _, k := range c.Repairs {
				if repairs.Count[k] == 0 {
					t.Errorf("no repair %q: %s", k, repairs.String())
				}
			}
			if c.Says == nil { // of the toy model, whose work is linked
				linked(t, list)
			}
		})
	}
}

// linked checks that every kernel was launched in its own trace, before it.
func linked(t *testing.T, list []*trace.Trace) {
	t.Helper()
	for _, tr := range list {
		calls := map[int64]int64{}
		for i, c := range tr.Slices.Cat {
			if c.Runtime() {
				calls[tr.Slices.Corr[i]] = tr.Slices.Start[i]
			}
		}
		for i, c := range tr.Slices.Cat {
			if c != trace.CatKernel {
				continue
			}
			at, ok := calls[tr.Slices.Corr[i]]
			if wait := tr.Slices.Start[i] - at; !ok || wait < 0 || wait > 100_000 {
				t.Errorf("%s: kernel at %d, launch at %d %v", identity.Name(&tr.Meta), tr.Slices.Start[i], at, ok)
				return
			}
		}
	}
}

// TestTwoWriters reads a file that two ranks wrote into in turns, for any size of their
// buffers: both ranks are there, and little is lost.
func TestTwoWriters(t *testing.T) {
	two := badtraces.Job(2, 30)
	for _, size := range []int{700, 1024, 4096, 5000} {
		dir := lay(t, []badtraces.File{{Name: "x.json", Data: badtraces.Interleave(two[0].Text(), two[1].Text(),
			size)}})
		list, err := Files(context.Background(), []string{dir}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 2 {
			t.Errorf("blocks of %d: %d traces", size, len(list))
			continue
		}
		slices.SortFunc(list, func(a, b *trace.Trace) int { return cmp.Compare(a.Meta.Rank, b.Meta.Rank) })
		blocks := len(two[0].Text())/size + 1
		for i, tr := range list {
			if n := tr.Slices.Len(); tr.Meta.Rank != i || n > two[i].Slices()+blocks || n < two[i].Slices()-2*blocks {
				t.Errorf("blocks of %d: rank %d with %d of %d slices", size, tr.Meta.Rank, n, two[i].Slices())
			}
			for _, k := range tr.Tracks {
				if k.Kind == trace.TrackCPU && k.PID == two[1-i].PID {
					t.Errorf("blocks of %d: rank %d has process %d", size, i, k.PID)
				}
			}
			if tr.Repairs.Skipped > 0 && tr.Repairs.Text == 0 {
				t.Error("skipped of nothing")
			}
		}
	}
}

// TestArchiveDamaged reads what is whole of a cut archive.
func TestArchiveDamaged(t *testing.T) {
	two := badtraces.Job(2, 40)
	whole := badtraces.Tar(badtraces.File{Name: "rank0.json", Data: two[0].Text()},
		badtraces.File{Name: "rank1.json", Data: two[1].Text()})
	dir := lay(t, []badtraces.File{{Name: "x.tar", Data: whole[:len(whole)*3/4]}})
	list, err := Files(context.Background(), []string{filepath.Join(dir, "x.tar")}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Slices.Len() != two[0].Slices() || whole2(list[1]) {
		t.Errorf("%d traces, %d slices", len(list), rows(list))
	}
	for name, data := range map[string]string{"no.zip": badtraces.Zip(badtraces.File{Name: "a.txt", Data: "x"}),
		"cut.zip": badtraces.Zip(badtraces.File{Name: "rank0.json", Data: two[0].Text()})[:200]} {
		dir := lay(t, []badtraces.File{{Name: name, Data: data}})
		if _, err := Files(context.Background(), []string{filepath.Join(dir, name)}, Options{}); err == nil ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func whole2(t *trace.Trace) bool { return whole([]*trace.Trace{t}) }

// TestArchiveFromPipe reads an archive from standard input.
func TestArchiveFromPipe(t *testing.T) {
	two := badtraces.Job(2, 2)
	data := badtraces.Zip(badtraces.File{Name: "rank0.json", Data: two[0].Text()},
		badtraces.File{Name: "rank1.json", Data: two[1].Text()})
	list, err := Files(context.Background(), []string{Stdin}, Options{Stdin: strings.NewReader(data)})
	if err != nil || len(list) != 2 {
		t.Errorf("%d traces, error %v", len(list), err)
	}
}

// An error says which file it is about, whatever its reader knows of files.
func TestErrorsNameTheFile(t *testing.T) {
	for name, content := range map[string]string{
		"cut.pftrace": "\x0a\xff\x7f\x08\x01", "cut.ksrec": "KINREC",
		"cut.hatchet": `[{"frame": {"name": "a"}, "metrics": {`,
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := Find([]string{path})
		if err == nil {
			err = EachSource(t.Context(), found, Options{}, func(int, *trace.Trace) error { return nil })
		}
		if err == nil || strings.Count(err.Error(), name) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file that is known and holds no trace is called what it is, not JSON that lacks something.
func TestNoTraceIsCalledWhatItIs(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"a.parquet": {"PAR1\x15\x04", "expected a trace, found columns for other programs"},
		"a.html":    {"<!doctype html><title>x", "expected a trace, found a web page"},
		"a.json": {`{"$schema": "https://www.speedscope.app/file-format-schema.json"}`,
			"expected a trace, found a speedscope profile"},
		"b.json": {`{"a": 1}`, `expected the key "traceEvents"`},
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := Find([]string{path})
		if err == nil {
			err = EachSource(t.Context(), found, Options{}, func(int, *trace.Trace) error { return nil })
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !Damaged(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
