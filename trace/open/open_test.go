package open

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/index"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func text(rank, events int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"schemaVersion": 1, "distributedInfo": {"rank": %d}, "traceEvents": [`, rank)
	for i := range events {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, `{"ph": "X", "cat": "cpu_op", "name": "op%d", "pid": 1, "tid": 1, "ts": %d, "dur": 1, "args": {"External id": %d}}`, i%7, i, i+1)
	}
	b.WriteString("]}")
	return b.String()
}

func write(t *testing.T, path, s string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	data := []byte(s)
	if strings.HasSuffix(path, ".gz") {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		w.Write(data)
		w.Close()
		data = z.Bytes()
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// run lays a run of three ranks out, with files that are no traces beside them.
func run(t *testing.T) string {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "stage0_thinker", "trace_rank0.json.gz"), text(0, 1000))
	write(t, filepath.Join(dir, "stage0_thinker", "trace_rank1.json"), text(1, 500))
	write(t, filepath.Join(dir, "stage1_talker", "trace_rank0.json.gz"), text(0, 10))
	write(t, filepath.Join(dir, "manifest.json"), `{"session": "x"}`)
	write(t, filepath.Join(dir, "list.json"), `[1, 2]`)
	write(t, filepath.Join(dir, "empty.json"), ``)
	write(t, filepath.Join(dir, "notes.txt"), `"traceEvents"`)
	write(t, filepath.Join(dir, "w_1_2_ascend_pt", "ASCEND_PROFILER_OUTPUT", "trace_view.json"),
		`[{"name":"process_name","pid":1,"tid":0,"ph":"M","args":{"name":"CANN"}},{"name":"x","pid":1,"tid":0,"ph":"X","ts":"1","dur":1}]`)
	return dir
}

func TestFind(t *testing.T) {
	dir := run(t)
	list, err := Find([]string{dir, Stdin})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		rel, err := filepath.Rel(dir, s.Path)
		if err != nil {
			rel = s.Path
		}
		got = append(got, fmt.Sprint(filepath.ToSlash(rel), " ", s.Kind, " ", s.Packed))
	}
	want := []string{
		"stage0_thinker/trace_rank0.json.gz 0 true", "stage0_thinker/trace_rank1.json 0 false",
		"stage1_talker/trace_rank0.json.gz 0 true", "w_1_2_ascend_pt 2 false", "- 3 false",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := Find([]string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no trace in this directory") {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Find([]string{filepath.Join(dir, "absent")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

func TestFiles(t *testing.T) {
	dir := run(t)
	var last Progress
	o := Options{Stdin: strings.NewReader(text(9, 5)), Progress: func(p Progress) { last = p }}
	list, err := Files(context.Background(), []string{dir, Stdin}, o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tr := range list {
		got = append(got, fmt.Sprint(tr.Meta.Format, " rank ", tr.Meta.Rank, " stage ", tr.Meta.StageID, tr.Meta.Stage, " slices ", tr.Slices.Len()))
	}
	want := []string{
		"kineto rank 0 stage 0thinker slices 1000", "kineto rank 1 stage 0thinker slices 500", "kineto rank 0 stage 1talker slices 10",
		"ascend rank -1 stage -1 slices 1", "kineto rank 9 stage -1 slices 5",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if last.Done != 5 || last.Files != 5 || last.Read != last.Size || last.Events < 1516 {
		t.Errorf("last progress %+v", last)
	}
}

func TestMemory(t *testing.T) {
	dir := run(t)
	a, b := filepath.Join(dir, "stage0_thinker", "trace_rank1.json"), filepath.Join(dir, "stage0_thinker", "trace_rank0.json.gz")
	list, err := Find([]string{a, b})
	if err != nil {
		t.Fatal(err)
	}
	need := list[0].memory() + list[1].memory()
	ctx := context.Background()
	got, err := Files(ctx, []string{a, b}, Options{Memory: need})
	if err != nil || got[0].ArgsBytes() == 0 {
		t.Errorf("enough memory: %v", err)
	}
	got, err = Files(ctx, []string{a, b}, Options{Memory: need - 1})
	if err != nil || got[0].ArgsBytes() != 0 || got[1].ArgsBytes() != 0 {
		t.Errorf("a little less memory: %v", err)
	}
	var me *MemoryError
	if _, err = Files(ctx, []string{a, b}, Options{Memory: need / 2}); !errors.As(err, &me) {
		t.Errorf("half the memory: %v", err)
	}
	var mu sync.Mutex
	n := 0
	one := max(list[0].memory(), list[1].memory())
	err = Each(ctx, []string{a, b, a, b}, Options{Memory: one}, func(_ int, tr *trace.Trace) error {
		mu.Lock()
		defer mu.Unlock()
		n += tr.Slices.Len()
		return nil
	})
	if err != nil || n != 3000 {
		t.Errorf("one after the other: %d slices, %v", n, err)
	}
	if err = Each(ctx, []string{a, b}, Options{Memory: 100}, nil); !errors.As(err, &me) || me.File == "" {
		t.Errorf("too little for one: %v", err)
	}
}

func TestErrors(t *testing.T) {
	dir := run(t)
	bad := filepath.Join(dir, "manifest.json")
	_, err := Files(context.Background(), []string{filepath.Join(dir, "stage1_talker"), bad}, Options{})
	if err == nil || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "traceEvents") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Files(ctx, []string{dir}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	stop := errors.New("stop")
	if err := Each(context.Background(), []string{dir}, Options{}, func(int, *trace.Trace) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("callback: %v", err)
	}
}

func TestIndex(t *testing.T) {
	dir := run(t)
	file := filepath.Join(dir, "stage0_thinker", "trace_rank0.json.gz")
	o := Options{Index: index.Cache{Dir: filepath.Join(dir, "idx")}}
	first, err := Files(context.Background(), []string{file}, o)
	if err != nil {
		t.Fatal(err)
	}
	made, _ := filepath.Glob(filepath.Join(dir, "idx", "*"+index.Suffix))
	if len(made) != 1 {
		t.Fatalf("indexes: %v", made)
	}
	second, err := Files(context.Background(), []string{file}, o)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first[0].Slices, second[0].Slices); d != "" {
		t.Error(d)
	}
	if err := os.WriteFile(made[0], []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	third, err := Files(context.Background(), []string{file}, o)
	if err != nil || third[0].Slices.Len() != 1000 {
		t.Errorf("damaged index: %v", err)
	}
}
