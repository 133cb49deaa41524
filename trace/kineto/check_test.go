package kineto

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/trace"
)

var objects = []string{
	`{}`, `{"a": 1}`, `{"a":[1,2.5,-3e+7,{"b":null}],"c":"x\"\\\u00e9é","d":{},"e":[]}`, ` {"a":1}`, `{"a":1`, `{"a"}`,
	`{"a":}`, `{"a":1,}`, `{,}`,
	`{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":-}`, `{"a":1e}`, `{"a":tru}`, `{"a":nul}`, `{"a":"` + "\n" + `"}`,
	`{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":[1,]}`, `{"a":[}`,
	`{"a":1]`, `{1:2}`, `{"a" : true , "b" : false }`, "{\"a\":\"\xff\"}", `{"a":NaN}`,
	`{"correlation": 12, "x": {"stream": 3}, "device": "7", "stream": -1}`, `{"a":1}}`, `{`, `{"`, `{"a":"\`,
	strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100),
}

func FuzzCheckObject(f *testing.F) {
	for _, o := range objects {
		f.Add([]byte(o))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 || raw[0] != '{' || len(raw) > maxFuzz {
			return
		}
		b := padded(bytes.Clone(raw))
		var h hotValues
		next, ok := checkObject(b, 0, len(raw), &h)
		if ok && (!json.Valid(raw[:next]) || !utf8.Valid(raw[:next])) {
			t.Fatalf("%q is not valid", raw[:next])
		}
		if ok {
			var want hotValues
			hotOf(raw[:next], &want)
			if h != want {
				t.Fatalf("%q: hot %v, want %v", raw[:next], h, want)
			}
		}
		if !ok && json.Valid(raw) && utf8.Valid(raw) &&
			bytes.Count(raw, []byte("{"))+bytes.Count(raw, []byte("[")) <= maxNesting {
			t.Fatalf("%q is valid, stopped at %d", raw, next)
		}
	})
}

// TestUnlike reads arguments that no template fits, and some that one does.
func TestUnlike(t *testing.T) {
	var b strings.Builder
	const n = 30_000
	args := make([]string, n)
	b.WriteString(`{"traceEvents": [`)
	for i := range n {
		r := rand.New(rand.NewPCG(2, uint64(i)))
		text := make([]byte, 12)
		for j := range text {
			text[j] = 'a' + byte(r.IntN(26))
		}
		args[i] = fmt.Sprintf(`{"note": "%s\"é", "device": %d, "stream": "7", "ptr": "0x%x", "correlation": %d}`, text,
			i%2, r.Uint64(), i+1)
		if i%10 == 0 {
			args[i] = fmt.Sprintf(`{"device": 0, "stream": 7, "ptr": "0x7f%010x", "correlation": %d}`, r.Uint64()>>24,
				i+1)
		}
		name := i % 3
		if i%10 == 0 {
			name = 3
		}
		comma := ","
		if i == 0 {
			comma = ""
		}
		fmt.Fprintf(&b,
			"%s\n{\"ph\": \"X\", \"cat\": \"kernel\", \"name\": \"k%d\", \"pid\": 0, \"tid\": 7, \"ts\": %d, \"dur\": 1, \"args\": %s}", comma, name, i, args[i])
	}
	b.WriteString("\n]}")
	for _, w := range []int{1, 3} {
		tr := mustRead(t, strings.NewReader(b.String()), Options{Workers: w, Window: 1 << 18})
		if tr.Slices.Len() != n || tr.Repairs.Total() > 0 {
			t.Fatalf("%d workers: %d slices, repairs %s", w, tr.Slices.Len(), tr.Repairs.String())
		}
		packed := 0
		for i := range n {
			if tr.Slices.Args[i].Packed() {
				packed++
				if i%10 == 0 {
					t.Fatalf("%d workers: %s packed, though one of a few templates fits", w, args[i])
				}
			}
			if got := string(tr.Args(tr.Slices.Args[i])); got != args[i] {
				t.Fatalf("%d workers: args %d: got %s want %s", w, i, got, args[i])
			}
			k := tr.Tracks[tr.Slices.Track[i]]
			if want := int64(i % 2); tr.Slices.Corr[i] != int64(i+1) || i%10 > 0 && k.Device != want || k.Stream != 7 {
				t.Fatalf("%d workers: slice %d: correlation %d, device %d, stream %d", w, i, tr.Slices.Corr[i],
					k.Device, k.Stream)
			}
		}
		if packed < n/3 {
			t.Errorf("%d workers: %d of %d packed", w, packed, n)
		}
		if got, _ := tr.ArgInt(n-1, "correlation"); got != n {
			t.Errorf("correlation %d", got)
		}
	}
	tr, err := Read(context.Background(), strings.NewReader(b.String()), Options{DropArgs: true})
	if err != nil || len(tr.PackedArgs()) > 0 || tr.Slices.Args[n-1] != trace.NoArgs {
		t.Errorf("dropped: %d blocks, %v", len(tr.PackedArgs()), err)
	}
}

// TestHoleBytes: the bytes that stand for holes in templates are no text of a file.
func TestHoleBytes(t *testing.T) {
	text := "{\"traceEvents\": [{\"ph\": \"X\", \"name\": \"a\", \"ts\": 1, \"dur\": 1, \"pid\": 1, \"tid\": 1, " +
		"\"args\": {\"x\": \"\xff\", \"y\": 12345, \"z\": \"\xfe\", \"w\": \"0xabcde\"}}]}"
	tr := mustRead(t, strings.NewReader(text), Options{})
	want := `{"x":"\ufffd","y":12345,"z":"\ufffd","w":"0xabcde"}` // mended: written anew
	if got := strings.ReplaceAll(string(tr.Args(tr.Slices.Args[0])), "\uFFFD", `\ufffd`); got != want ||
		tr.Repairs.Count[trace.RepairUTF8] != 1 {
		t.Errorf("got %s want %s", got, want)
	}
}
