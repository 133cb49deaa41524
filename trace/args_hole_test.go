package trace

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestNextHole: looking at eight bytes at a time finds what looking at each does.
func TestNextHole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kinds := []byte{0, 1, 'a', 0x7F, 0x80, 0xF4, 0xFB, ArgTextHole, ArgHexHole, ArgHole}
		b := rapid.SliceOfN(rapid.SampledFrom(kinds), 0, 40).Draw(rt, "bytes")
		want := len(b)
		for i, c := range b {
			if isHole(c) {
				want = i
				break
			}
		}
		if got := nextHole(b); got != want {
			rt.Fatalf("% x: %d, want %d", b, got, want)
		}
	})
}

// TestTextHoles: an object whose texts are values of holes reads like one that has them in its template, whole and
// by key.
func TestTextHoles(t *testing.T) {
	keys := []string{"a", "id", "External id", "d"}
	rapid.Check(t, func(rt *rapid.T) {
		raw, lit, values := []byte("{"), []byte("{"), []byte(nil)
		number := func(v uint64) {
			raw, lit = fmt.Append(raw, v), append(lit, ArgHole)
			values = binary.AppendUvarint(values, v)
		}
		text := func(s string) {
			raw, lit = fmt.Append(raw, `"`, s, `"`), append(lit, '"', ArgTextHole, '"')
			values = append(binary.AppendUvarint(values, uint64(len(s))), s...)
		}
		texts := rapid.StringMatching("[a-z0-9 é]{0,70}")
		numbers := rapid.Uint64Range(1000, 1<<62)
		for k := range rapid.IntRange(1, len(keys)).Draw(rt, "members") {
			for _, b := range []*[]byte{&raw, &lit} {
				if k > 0 {
					*b = append(*b, ", "...)
				}
				*b = fmt.Appendf(*b, "%q: ", keys[k])
			}
			switch rapid.IntRange(0, 3).Draw(rt, "kind") {
			case 0:
				number(numbers.Draw(rt, "number"))
			case 1:
				text(texts.Draw(rt, "text"))
			case 2:
				text(fmt.Sprint(numbers.Draw(rt, "number")))
			default:
				raw, lit = append(raw, '['), append(lit, '[')
				text(texts.Draw(rt, "text"))
				raw, lit = append(raw, ','), append(lit, ',')
				number(numbers.Draw(rt, "number"))
				raw, lit = append(raw, ']'), append(lit, ']')
			}
		}
		raw, lit = append(raw, '}'), append(lit, '}')
		tr := New()
		tr.AddArgsValues([]byte("before"))
		holed := MakeArgsRef(tr.AddArgsTemplate(lit), tr.AddArgsValues(values))
		tr.AddArgsValues([]byte("after"))
		plain := tr.AddArgs(raw)
		if got := tr.Args(holed); string(got) != string(raw) {
			rt.Fatalf("%q, want %q", got, raw)
		}
		ints := tr.IntArgs(keys...)
		val, ok := make([]int64, len(keys)), make([]bool, len(keys))
		ints.Read(holed, val, ok)
		for i, key := range keys {
			if got, want := tr.RefArg(holed, key), tr.RefArg(plain, key); string(got) != string(want) {
				rt.Fatalf("%s of %s: %q, want %q", key, raw, got, want)
			}
			want, is := tr.RefArgInt(plain, key)
			if got, has := tr.RefArgInt(holed, key); got != want || has != is || val[i] != want || ok[i] != is {
				rt.Fatalf("%s of %s: %d %v and %d %v, want %d %v", key, raw, got, has, val[i], ok[i], want, is)
			}
		}
		// Values that are cut, as of a damaged index, end the text and nothing else.
		for n := range values {
			short := MakeArgsRef(holed.Template(), tr.AddArgsValues(values[:n]))
			for _, key := range keys {
				tr.RefArg(short, key)
			}
		}
	})
}
