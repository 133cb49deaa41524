package memsnap

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadTrace(t *testing.T) {
	b, err := os.ReadFile("testdata/snapshot.pickle")
	if err != nil {
		t.Fatal(err)
	}
	if !Sniff(b) || Sniff([]byte("\x80\x04}\x94\x8c\x05model")) {
		t.Error("told by its beginning")
	}
	tr, err := ReadTrace(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	if m := &tr.Meta; !m.WallClock || m.Role != Role || m.Format != Format {
		t.Errorf("%+v", m)
	}
	const t0 = 1_790_000_000_000_000_000
	var got []string
	in := &tr.Instants
	for i := range in.Time {
		total, _ := tr.RefArgInt(in.Args[i], "Total Allocated")
		reserved, _ := tr.RefArgInt(in.Args[i], "Total Reserved")
		n, _ := tr.RefArgInt(in.Args[i], "Bytes")
		got = append(got, fmt.Sprintf("%d %s %d of %d, %d reserved", in.Time[i]-t0, tr.String(in.Name[i]), n, total,
			reserved))
	}
	want := []string{
		"1 [memory] 524288 of 528384, 20971520 reserved", "2 [memory] 2097152 of 2625536, 20971520 reserved",
		"900001 [memory] -524288 of 2101248, 20971520 reserved", "1000000 [memory] -4096 of 2097152, 20971520 reserved",
		"1500000 oom 0 of 0, 0 reserved", "2000000 snapshot 0 of 0, 0 reserved",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var names []string
	for i, n := range tr.Slices.Name {
		stack, _ := tr.ArgText(i, "Call stack")
		names = append(names, tr.String(n)+" | "+stack)
	}
	linear := "/env/torch/nn/modules/linear.py(125): forward | c10::cuda::CUDACachingAllocator::malloc;" +
		"/env/torch/nn/modules/linear.py(125): forward;/work/model.py(12): forward"
	if d := cmp.Diff([]string{linear,
		"/work/kv; cache.py(7): grow | /work/kv, cache.py(7): grow;/work/model.py(30): decode", linear,
		"no stack recorded | "}, names); d != "" {
		t.Error(d)
	}
}

// Snapshots of old versions have no times: their events stand apart in their order, which is
// said.
func TestNoTimes(t *testing.T) {
	s := Snapshot{Traces: [][]Entry{{{Action: ActionAlloc, Addr: 1, Size: 8}, {Action: ActionAlloc, Addr: 2, Size: 8}}}}
	tr := s.Trace()
	if tr.Meta.WallClock || tr.Repairs.Count[RepairNoClock] != 2 || tr.Instants.Time[0] >= tr.Instants.Time[1] {
		t.Errorf("%+v at %v: %v", tr.Meta, tr.Instants.Time, &tr.Repairs)
	}
	if err := (&Snapshot{}).Trace().Validate(); err != nil {
		t.Error(err)
	}
}

func FuzzReadTrace(f *testing.F) {
	b, err := os.ReadFile("testdata/snapshot.pickle")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		Sniff(b)
		tr, err := ReadTrace(bytes.NewReader(b))
		if err != nil {
			return
		}
		if err := tr.Validate(); err != nil {
			t.Fatal(err)
		}
		for i := range tr.Instants.Time {
			if total, ok := tr.RefArgInt(tr.Instants.Args[i], "Total Allocated"); ok && total < 0 {
				t.Fatalf("%d bytes are held", total)
			}
		}
	})
}
