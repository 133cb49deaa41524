package ids

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestNumbers: keys have the numbers in which they first came, whatever their hashes.
func TestNumbers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOf(rapid.StringN(0, 2, 3)).Draw(rt, "keys")
		hash := OfText
		if rapid.Bool().Draw(rt, "collisions") {
			hash = func(s string) uint64 { return uint64(len(s)) << 63 }
		}
		var l List[string]
		want := map[string]uint32{}
		for _, k := range keys {
			n, had := want[k]
			if !had {
				n = uint32(len(want))
				want[k] = n
			}
			if got, added := l.Number(k, hash(k)); got != n || added == had {
				rt.Fatalf("%q is %d, added %v; want %d, %v", k, got, added, n, !had)
			}
		}
		var again List[string]
		again.Set(append([]string(nil), l.Keys()...), hash)
		for k, n := range want {
			a, ok := l.Find(k, hash(k))
			b, ok2 := again.Find(k, hash(k))
			if !ok || !ok2 || a != n || b != n {
				rt.Fatalf("%q is found as %d and %d; want %d", k, a, b, n)
			}
		}
		shared := l.Share()
		shared.Number("mine", hash("mine"))
		l.Number("ours", hash("ours"))
		if _, ok := l.Find("mine", hash("mine")); ok {
			rt.Fatal("a key of one list is in the other")
		}
		if n, _ := shared.Find("mine", hash("mine")); n != uint32(len(want)) {
			rt.Fatalf("the next key is %d", n)
		}
		for k, n := range want {
			if got, _ := shared.Find(k, hash(k)); got != n {
				rt.Fatalf("%q is %d in the shared list", k, got)
			}
		}
		for _, cleared := range []*List[string]{&again, &shared} {
			cleared.Clear()
			if n, added := cleared.Number("first", hash("first")); n != 0 || !added || cleared.Len() != 1 {
				rt.Fatalf("the first key after Clear is %d, added %v", n, added)
			}
			for k := range want {
				if _, ok := cleared.Find(k, hash(k)); ok && k != "first" {
					rt.Fatalf("%q is found after Clear", k)
				}
			}
		}
		if _, ok := l.Find("none", hash("none")); ok || l.Len() != len(want)+1 {
			rt.Fatal("a key is found that is not there")
		}
	})
}

// TestEqualKeys: of equal keys in a list that is set the first is found.
func TestEqualKeys(t *testing.T) {
	var l List[string]
	l.Set([]string{"", "a", "a", "b"}, OfText)
	if n, ok := l.Find("a", OfText("a")); !ok || n != 1 {
		t.Errorf("a is %d", n)
	}
}

// TestHashes: a text and its bytes have one hash, and near numbers have different ones.
func TestHashes(t *testing.T) {
	if OfText("aten::mm") != OfBytes([]byte("aten::mm")) {
		t.Error("a text and its bytes differ")
	}
	seen := map[uint64]string{}
	for pid := range int64(100) {
		for tid := range int64(100) {
			h := Mix(Mix(0, pid), tid) & (1<<20 - 1)
			if was, ok := seen[h]; ok {
				seen[h] = was + "."
				continue
			}
			seen[h] = fmt.Sprint(pid, tid)
		}
	}
	if len(seen) < 9_900 {
		t.Errorf("10000 lanes share %d of a million slots", len(seen))
	}
}
