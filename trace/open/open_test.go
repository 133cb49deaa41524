package open

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
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
		fmt.Fprintf(&b,
			`{"ph": "X", "cat": "cpu_op", "name": "op%d", "pid": 1, "tid": 1, "ts": %d, "dur": 1, "args": {"External id": %d}}`, i%7, i, i+1)
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
		got = append(got, fmt.Sprint(filepath.ToSlash(rel), " ", s.Format, " ", s.Packed))
	}
	want := []string{
		"stage0_thinker/trace_rank0.json.gz kineto true", "stage0_thinker/trace_rank1.json kineto false",
		"stage1_talker/trace_rank0.json.gz kineto true", "w_1_2_ascend_pt ascend false", "-  false",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := Find([]string{t.TempDir()}); err == nil ||
		!strings.Contains(err.Error(), "no trace in this directory") {
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
		got = append(got, fmt.Sprint(tr.Meta.Format, " rank ", tr.Meta.Rank, " stage ", tr.Meta.StageID, tr.Meta.Stage,
			" slices ", tr.Slices.Len()))
	}
	want := []string{
		"kineto rank 0 stage 0thinker slices 1000", "kineto rank 1 stage 0thinker slices 500",
		"kineto rank 0 stage 1talker slices 10",
		"ascend rank -1 stage -1 slices 1", "kineto rank 9 stage -1 slices 5",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if last.Done != 5 || last.Files != 5 || last.Read != last.Size || last.Events < 1516 {
		t.Errorf("last progress %+v", last)
	}
}

// TestEstimate: what cannot fit by the files' sizes is refused before anything is read.
func TestEstimate(t *testing.T) {
	dir := run(t)
	a, b := filepath.Join(dir, "stage0_thinker", "trace_rank1.json"), filepath.Join(dir, "stage0_thinker",
		"trace_rank0.json.gz")
	list, err := Find([]string{a, b})
	if err != nil {
		t.Fatal(err)
	}
	need := list[0].memory() + list[1].memory()
	var me *MemoryError
	if _, err = Files(context.Background(), []string{a, b}, Options{Memory: need / 20}); !errors.As(err, &me) ||
		me.File != "" {
		t.Errorf("a twentieth of the memory: %v", err)
	}
	if err = Each(context.Background(), []string{a, b}, Options{Memory: 100}, nil); !errors.As(err, &me) ||
		me.File == "" {
		t.Errorf("too little for one: %v", err)
	}
}

// TestShare: traces of which each is expected to take more than the share are read one after the other, and whole.
func TestShare(t *testing.T) {
	dir := t.TempDir()
	const files, n = 6, 500
	for i := range files {
		write(t, filepath.Join(dir, fmt.Sprintf("rank%d.json", i)), text(i, n))
	}
	list, _, err := Survey([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	var now, most, slices atomic.Int64
	err = EachSource(t.Context(), Join(list), Options{Share: 1, Workers: 4}, func(_ int, tr *trace.Trace) error {
		if at := now.Add(1); at > most.Load() {
			most.Store(at)
		}
		for range 100 { // gives another trace the time to come
			runtime.Gosched()
		}
		if tr.ArgsBytes() == 0 {
			t.Error("a trace without its arguments")
		}
		slices.Add(int64(tr.Slices.Len()))
		now.Add(-1)
		return nil
	})
	if err != nil || most.Load() != 1 || slices.Load() != files*n {
		t.Errorf("%d traces at a time, %d slices, %v", most.Load(), slices.Load(), err)
	}
	for _, c := range []struct {
		limit int64
		want  int
	}{{1, 1}, {1 << 62, files}, {3 * list[0].memory(), 3}} {
		if got := atOnce(Join(list), c.limit, false); got != c.want {
			t.Errorf("%d at once within %d, want %d", got, c.limit, c.want)
		}
	}
}

// TestMemory: packed so well that the estimate is far too low, traces stay within the
// limit all the same.
func TestMemory(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	four := []string{filepath.Join(dir, "a.json.gz"), filepath.Join(dir, "b.json.gz"), filepath.Join(dir, "c.json.gz"),
		filepath.Join(dir, "d.json.gz")}
	const n = 20_000
	for i, f := range four {
		var s strings.Builder
		s.WriteString(`{"traceEvents": [`)
		for k := range n {
			fmt.Fprintf(&s,
				"{\"ph\": \"X\", \"name\": \"op\", \"pid\": 1, \"tid\": 1, \"ts\": %d, \"dur\": 1, \"args\": {\"a\": 1000000, \"b\": 1000000000000, \"c\": 10000000, \"d\": 100000000000}},\n", k/100+i)
		}
		write(t, f,
			s.String()+text(i, 1)[len(`{"schemaVersion": 1, "distributedInfo": {"rank": 0}, "traceEvents": [`):])
	}
	both := four[:2]
	full, err := Files(ctx, both, Options{})
	if err != nil {
		t.Fatal(err)
	}
	with := full[0].Bytes()
	full[0].DropArgs()
	without := full[0].Bytes()
	list, _ := Find(both)
	if est := list[0].memory(); est > without/2 || with < without*5/4 {
		t.Fatalf("a trace takes %d bytes, %d without arguments, %d estimated: the test tests nothing", with, without,
			est)
	}
	got, err := Files(ctx, both, Options{Memory: 3 * with})
	if err != nil || got[0].ArgsBytes() == 0 || got[1].ArgsBytes() == 0 {
		t.Errorf("enough memory: %v", err)
	}
	const aside = 10_000 // what a reader keeps beside rows, of both
	got, err = Files(ctx, both, Options{Memory: with + without + aside})
	if err != nil {
		t.Fatalf("enough without arguments: %v", err)
	}
	for _, tr := range got {
		if tr.ArgsBytes() != 0 || tr.Slices.Len() != n+1 || tr.Repairs.Count[trace.RepairArgsMemory] != 1 ||
			tr.Slices.Args[n] != trace.NoArgs {
			t.Errorf("%d bytes of arguments, %d slices, repairs %s", tr.ArgsBytes(), tr.Slices.Len(),
				tr.Repairs.String())
		}
	}
	var me *MemoryError
	if _, err = Files(ctx, both, Options{Memory: without * 3 / 2}); !errors.As(err, &me) || me.File == "" ||
		me.Need <= me.Limit {
		t.Errorf("enough for one only: %v", err)
	}
	for _, limit := range []int64{with * 5 / 4, without * 5 / 4} {
		var mu sync.Mutex
		slices := 0
		err = Each(ctx, four, Options{Memory: limit, Workers: 4}, func(_ int, tr *trace.Trace) error {
			mu.Lock()
			defer mu.Unlock()
			slices += tr.Slices.Len()
			if tr.Bytes() > limit {
				t.Errorf("a trace of %d bytes, at most %d allowed", tr.Bytes(), limit)
			}
			return nil
		})
		if err != nil || slices != 4*(n+1) {
			t.Errorf("one after the other within %d: %d slices, %v", limit, slices, err)
		}
	}
	if err = Each(ctx, both, Options{Memory: without / 2}, func(int,
		*trace.Trace) error {
		return nil
	}); !errors.As(err, &me) || me.File == "" {
		t.Errorf("too little for one: %v", err)
	}
	if _, err = Files(ctx, []string{Stdin}, Options{Memory: without / 2,
		Stdin: strings.NewReader(text(0, n))}); !errors.As(err, &me) || me.File != Stdin {
		t.Errorf("a pipe of unknown size: %v", err)
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
	if err := Each(context.Background(), []string{dir}, Options{},
		func(int, *trace.Trace) error { return stop }); !errors.Is(err, stop) {
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

// A pipe or a device is refused at once, by name and in a directory.
func TestKinds(t *testing.T) {
	mkfifo, err := exec.LookPath("mkfifo")
	if err != nil {
		t.Skip("no mkfifo")
	}
	dir := t.TempDir()
	pipe := filepath.Join(dir, "trace.json")
	if out, err := exec.Command(mkfifo, pipe).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	for path, want := range map[string]string{pipe: "standard input", "/dev/null": "no file and no directory"} {
		var kind *KindError
		if _, err := Find([]string{path}); !errors.As(err, &kind) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	var empty *EmptyError
	if _, err := Find([]string{dir}); !errors.As(err, &empty) {
		t.Errorf("a directory with a pipe: %v", err)
	}
}

// An archive without a trace says what it holds, in a directory in one note; of many files that
// turn out to hold no trace a few are named.
func TestArchiveWithoutTraces(t *testing.T) {
	dir := t.TempDir()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"a.txt", "b.txt"} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("text\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.zip", i)), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Files(t.Context(), []string{filepath.Join(dir, "0.zip")}, Options{})
	var empty *EmptyError
	if !errors.As(err, &empty) || !strings.HasSuffix(err.Error(), "0.zip: an archive without a trace; it holds "+
		"a.txt (text of an unknown format), b.txt (text of an unknown format)") {
		t.Errorf("%v", err)
	}
	var left []Left
	_, err = Files(t.Context(), []string{dir}, Options{Left: func(l Left) { left = append(left, l) }})
	if err == nil || strings.Count(err.Error(), "an archive without a trace") != named ||
		!strings.HasSuffix(err.Error(), "and 2 more files that are no traces") {
		t.Errorf("%v", err)
	}
	if len(left) != 6 || !strings.HasPrefix(left[0].Reason, "an archive without a trace; it holds a.txt") {
		t.Errorf("%+v", left)
	}
}
