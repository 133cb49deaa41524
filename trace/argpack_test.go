package trace

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// unlike returns object i of a series of which no two make one template.
func unlike(i int) string {
	r := rand.New(rand.NewPCG(1, uint64(i)))
	return fmt.Sprintf(`{"note": "%s", "id": %d, "q\"k": [1, {"id": 7}], "pad": "%s"}`,
		strings.Map(func(c rune) rune { return c + r.Int32N(20) }, "aaaaaaaaaaaa"), i, strings.Repeat("x", r.IntN(300)))
}

// TestPackedArgs adds so many objects without a likeness that templates stop repaying.
func TestPackedArgs(t *testing.T) {
	const n = 20_000
	tr := New()
	refs := make([]ArgsRef, n)
	packed := 0
	for i := range refs {
		refs[i] = tr.AddArgs([]byte(unlike(i)))
		if refs[i].Packed() {
			packed++
		}
		if got := string(tr.Args(refs[i])); got != unlike(i) {
			t.Fatalf("object %d while adding: %s", i, got)
		}
	}
	if max := n - freeTemplates; packed < max*9/10 {
		t.Errorf("%d of %d objects packed", packed, n)
	}
	again := tr.AddArgs([]byte(unlike(0)))
	if again.Packed() {
		t.Error("an object of a template that is there was packed")
	}
	tr.Trim()
	raw := 0
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for i := part; i < n; i += 3 {
				if got := string(tr.Args(refs[i])); got != unlike(i) {
					t.Errorf("object %d: %s", i, got)
					return
				}
				if id, ok := tr.RefArgInt(refs[i], "id"); !ok || id != int64(i) {
					t.Errorf("object %d: id %d %v", i, id, ok)
				}
				if k := string(tr.RefArg(refs[i], `q"k`)); k != `[1, {"id": 7}]` {
					t.Errorf("object %d: escaped key gives %s", i, k)
				}
			}
		})
	}
	wg.Wait()
	for i := range n {
		raw += len(unlike(i))
	}
	size := 0
	for _, b := range tr.PackedArgs() {
		size += len(b)
	}
	if size > raw/2 {
		t.Errorf("%d bytes for %d bytes of text, most of it the same", size, raw)
	}
	if tr.RefArg(refs[n-1], "absent") != nil || tr.Args(PackedRef(1<<19, 0)) != nil ||
		tr.Args(refs[n-1]+60_000) != nil {
		t.Error("a value where there is none")
	}
}

func TestMemberOf(t *testing.T) {
	for _, c := range []struct{ raw, key, want string }{
		{`{}`, "a", ""},
		{`{"a":1}`, "a", "1"},
		{` { "b" : {"a": 2} , "a" : "x\"y" } `, "a", `"x\"y"`},
		{`{"a": 1, "a": [2, 3]}`, "a", "[2, 3]"},
		{`{"\u0061": true}`, "a", "true"},
		{`{"a": -1.5e3}`, "b", ""},
	} {
		if !json.Valid([]byte(c.raw)) {
			t.Fatal(c.raw)
		}
		if got := string(memberOf([]byte(c.raw), c.key)); got != c.want {
			t.Errorf("%s of %s: got %s want %s", c.key, c.raw, got, c.want)
		}
	}
}
