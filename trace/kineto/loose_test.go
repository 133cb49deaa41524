package kineto

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestLooseKeys reads events with a text that no two share in every object. Few templates serve them all, whatever
// else differs; nothing is packed but what is no plain text, and every byte stays as it is.
func TestLooseKeys(t *testing.T) {
	const n = 30_000
	r := rand.New(rand.NewPCG(3, 4))
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abcdefghijklmnopqrstuvwxyz0123456789-_"[r.IntN(38)]
		}
		return string(b)
	}
	args := make([]string, n)
	odd := map[int]bool{}
	var b strings.Builder
	b.WriteString(`{"traceEvents": [`)
	for i := range n {
		note, file := random(r.IntN(maxTextHole)), "日本/"+random(8)
		switch r.IntN(50) {
		case 0:
			note, odd[i] = strings.Repeat(note, 4)+random(maxTextHole), true
		case 1:
			note, odd[i] = note+`\n`, true
		}
		args[i] = fmt.Sprintf(`{"note": "%s", "dims": [[%d, 64]], "device": %d, "stream": "%d", "paths" : ["%s", "x"], "correlation": "%d"}`,
			note, r.IntN(50), i%2, i%3, file, i+1)
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b,
			"\n{\"ph\": \"X\", \"cat\": \"kernel\", \"name\": \"k%d\", \"pid\": 0, \"tid\": 7, \"ts\": %d, \"dur\": 1, \"args\": %s}", i%4, i, args[i])
	}
	b.WriteString("\n]}")
	for _, w := range []int{1, 3} {
		tr := mustRead(t, strings.NewReader(b.String()), Options{Workers: w, Window: 1 << 18})
		packed := 0
		for i := range n {
			ref := tr.Slices.Args[i]
			if got := string(tr.Args(ref)); got != args[i] {
				t.Fatalf("%d workers: args %d: got %s want %s", w, i, got, args[i])
			}
			if ref.Packed() && !odd[i] {
				packed++
			}
			k := tr.Tracks[tr.Slices.Track[i]]
			if tr.Slices.Corr[i] != int64(i+1) || k.Device != int64(i%2) || k.Stream != int64(i%3) {
				t.Fatalf("%d workers: slice %d: correlation %d, device %d, stream %d", w, i, tr.Slices.Corr[i],
					k.Device, k.Stream)
			}
		}
		if most := w*6*looseTexts + len(odd); tr.ArgsTemplates() > most || packed > 0 {
			t.Errorf("%d workers: %d templates, %d or fewer expected; %d of %d packed", w, tr.ArgsTemplates(), most,
				packed, n)
		}
	}
}

// TestTextsWithoutHole: texts that no hole holds make no key loose, or each object would be tried in vain.
func TestTextsWithoutHole(t *testing.T) {
	var k looseKeys
	for i := range 4 * looseTexts {
		k.learn(fmt.Appendf(nil, `{"long": "%s", "escaped": "%c%c\\n", "plain": "%c%c"}`,
			strings.Repeat(string(rune('a'+i%26)), maxTextHole+1+i), 'a'+i%26, 'a'+i/26, 'a'+i%26, 'a'+i/26))
	}
	for key, want := range map[string]bool{"long": false, "escaped": false, "plain": true} {
		if got := k.keys[key].loose; got != want {
			t.Errorf("%s: loose %t", key, got)
		}
	}
}

// TestFewTexts: a key of few texts is no loose one, as a template for each of them takes less room.
func TestFewTexts(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"traceEvents": [`)
	for i := range 20_000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"ph": "X", "name": "k", "pid": 0, "tid": 7, "ts": %d, "dur": 1, "args": {"type": "t%d", "dims": [%d, 8]}}`,
			i, i%7, i%100)
	}
	b.WriteString("]}")
	tr := mustRead(t, strings.NewReader(b.String()), Options{Workers: 1})
	if n := tr.ArgsTemplates(); n != 700 {
		t.Errorf("%d templates, 700 expected", n)
	}
}
