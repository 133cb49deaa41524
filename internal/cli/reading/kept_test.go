package reading

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// one is a trace of a slice.
func one() *trace.Trace {
	t := trace.New()
	t.AddSlice(trace.Slice{Dur: 1, Name: "a", Track: t.AddTrack(trace.Track{Name: "thread"})})
	return t
}

// What fits stays and is handed out once; what does not is read again.
func TestKept(t *testing.T) {
	small := one()
	var k Kept
	if k.plan([]open.Source{{Size: 1 << 40}}, 0) {
		t.Error("without a limit all traces were to stay")
	}
	if err := k.add("a", 1, small); err != nil {
		t.Fatal(err)
	}
	if k.Take("a", 0) != nil || k.Take("b", 1) != nil || k.Take("a", 1) != small || k.Take("a", 1) != nil {
		t.Error("a trace was not handed out once, to who asked for it")
	}
	k.room = small.Bytes() - 1
	if err := k.add("a", 0, small); err != nil || k.Take("a", 0) != nil {
		t.Errorf("a trace without room: %v", err)
	}
}

// Within a limit of the user's all traces stay or none: what one takes, another cannot have.
func TestKeptWithinALimit(t *testing.T) {
	var k Kept
	files := []open.Source{{Size: 1000, Packed: true}, {Size: 1000, Packed: true}}
	need := files[0].Memory() + files[1].Memory()
	if k.plan(files, need-1) || k.add("a", 0, one()) != nil || k.Take("a", 0) != nil {
		t.Error("traces stay that do not fit")
	}
	if !k.plan(files, need+1<<20) {
		t.Fatal("traces that fit do not stay")
	}
	short := one()
	short.Repairs.Add(trace.RepairArgsMemory, 1)
	if err := k.add("a", 0, short); !errors.Is(err, errCrowded) {
		t.Errorf("a trace that lost its arguments for want of memory: %v", err)
	}
	k.drop()
	if err := k.add("a", 0, one()); err != nil || k.Take("a", 0) != nil {
		t.Errorf("kept after drop: %v", err)
	}
	var none *Kept
	if none.plan(files, need) || none.add("a", 0, one()) != nil || none.Take("a", 0) != nil {
		t.Error("nil keeps something")
	}
}

// What does not fit into memory lies on disk, under no name, and is handed out once as it was.
func TestKeptOnDisk(t *testing.T) {
	dir := t.TempDir()
	k := NewKept(dir)
	files := []open.Source{{Size: 1 << 20}}
	if k.plan(files, 1) {
		t.Fatal("traces stay in a byte")
	}
	first, second := one(), one()
	second.AddSlice(trace.Slice{Start: 5, Dur: 2, Name: "b", Args: []byte(`{"x":[1,2]}`)})
	for seq, tr := range []*trace.Trace{first, second} {
		if err := k.add("a", seq, tr); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 && runtime.GOOS == "linux" {
		t.Errorf("%d files have names, error %v", len(left), err)
	}
	text := func(tr *trace.Trace) string {
		var b bytes.Buffer
		if err := index.Write(&b, tr, index.Stamp{}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for seq, want := range []*trace.Trace{first, second} {
		got := k.Take("a", seq)
		if got == nil || got == want || text(got) != text(want) || k.Take("a", seq) != nil {
			t.Errorf("trace %d was not handed out once, as it was", seq)
		}
	}
	if err := k.Close(); err != nil || k.Close() != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, error %v", len(left), err)
	}
	nowhere := NewKept(filepath.Join(dir, "none"))
	nowhere.plan(files, 1)
	if err := nowhere.add("a", 0, one()); err != nil || nowhere.Take("a", 0) != nil {
		t.Errorf("kept where nothing can be written: %v", err)
	}
}
