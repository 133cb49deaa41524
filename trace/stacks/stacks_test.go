package stacks

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

func stackOf(x *Tree, i int) string {
	frames := x.Stack(nil, x.Of(i), 1000)
	slices.Reverse(frames)
	return strings.Join(frames, ";")
}

func TestOf(t *testing.T) {
	tr := trace.New()
	track := tr.AddTrack(trace.Track{})
	add := func(start, dur int64, name, args string) {
		tr.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Cat: trace.CatCPUOp, Track: track,
			Args: []byte(args)})
	}
	add(0, 100_000, "ProfilerStep#3", "")
	add(1000, 50_000, "op", `{"Call stack": "inner.py(1): f at 0xabc;outer.py(9): main"}`)
	add(2000, 10_000, "child", "")
	add(70_000, 10_000, "ProfilerStep#4", "")
	add(200_000, 10_000, "", "")
	want := []string{
		"ProfilerStep",
		"outer.py(9): main;inner.py(1): f;ProfilerStep;op",
		"outer.py(9): main;inner.py(1): f;ProfilerStep;op;child",
		"ProfilerStep;ProfilerStep",
		Unnamed,
	}
	for _, order := range [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}} {
		x := New(tr)
		for _, i := range order {
			if got := stackOf(x, i); got != want[i] {
				t.Errorf("slice %d, order %v: %q, want %q", i, order, got, want[i])
			}
		}
	}
}

// Whatever is asked first, equal stacks are one node, and a caller has a smaller number.
func TestTreeIsCanonical(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := trace.New()
		track := tr.AddTrack(trace.Track{})
		n := rapid.IntRange(1, 30).Draw(rt, "n")
		for i := range n {
			args := ""
			if rapid.Bool().Draw(rt, "stack") {
				args = fmt.Sprintf(`{"Call stack": "f%d;g"}`, rapid.IntRange(0, 2).Draw(rt, "frame"))
			}
			tr.AddSlice(trace.Slice{
				Start: rapid.Int64Range(0, 50).Draw(rt, "start") * 1000,
				Dur:   rapid.Int64Range(0, 50).Draw(rt, "dur") * 1000,
				Name:  string(rune('a' + i%3)), Track: track, Args: []byte(args),
			})
		}
		x, y := New(tr), New(tr)
		seen := map[string]Node{}
		for i := range n {
			y.Of(n - 1 - i)
			text := stackOf(x, i)
			if at, ok := seen[text]; ok && at != x.Of(i) {
				rt.Fatalf("%q is two nodes", text)
			}
			seen[text] = x.Of(i)
		}
		for i := range n {
			if a, b := stackOf(x, i), stackOf(y, i); a != b {
				rt.Fatalf("slice %d: %q and %q", i, a, b)
			}
		}
		for k := 1; k < x.Len(); k++ {
			if c := x.Caller(Node(k)); c >= Node(k) {
				rt.Fatalf("node %d is called by %d", k, c)
			}
		}
	})
}

// Nesting of any depth costs a step a slice.
func TestDeepNesting(t *testing.T) {
	const depth = 100_000
	tr := trace.New()
	track := tr.AddTrack(trace.Track{})
	for i := range int64(depth) {
		tr.AddSlice(trace.Slice{Start: i * 1000, Dur: (2*depth - 2*i) * 1000, Name: "f", Track: track})
	}
	x := New(tr)
	for i := range depth {
		x.Of(i)
	}
	if x.Len() > depth+1 {
		t.Errorf("%d nodes for %d slices", x.Len(), depth)
	}
}

func TestSource(t *testing.T) {
	for frame, want := range map[string][3]string{
		"a/b.py(12): forward":           {"forward", "a/b.py", "12"},
		`C:\x (1)\y.py(3): <module>`:    {"<module>", `C:\x (1)\y.py`, "3"},
		"aten::mm":                      {"aten::mm", "", "0"},
		"f(x): y":                       {"f(x): y", "", "0"},
		"a.py(99999999999999999999): f": {"a.py(99999999999999999999): f", "", "0"},
	} {
		name, file, line := Source(frame)
		if got := [3]string{name, file, fmt.Sprint(line)}; got != want {
			t.Errorf("%q: %q, want %q", frame, got, want)
		}
	}
}
