package kineto

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"
)

// escaped writes s as writers of JSON do that keep to ASCII: Python's json is one.
func escaped(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, `\u%04x`, u)
	}
	return b.String()
}

// Texts in arguments are the same whether they are escaped or not. Many escapes are digits
// alone, and look like the long numbers that templates leave out.
func TestEscapedArguments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.OneOf(
			rapid.StringMatching(`[0-9a-fu\\]{0,6}`),
			rapid.SampledFrom([]string{"あ", "ሴ", "\u2028", "\u2066", "\u1234", "\U0001f600", "中"}),
			rapid.String(),
		), 1, 4)
		key, value := strings.Join(text.Draw(t, "key"), ""), strings.Join(text.Draw(t, "value"), "")
		digits := rapid.StringMatching(`[0-9]{0,12}`).Draw(t, "digits behind")
		in := fmt.Sprintf(`{"schemaVersion": 1, "traceEvents": [
 {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 10, "dur": 5,
  "args": {"k%s": "%s%s", "External id": 1234}}]}`, escaped(key), escaped(value), digits)
		tr, err := Read(t.Context(), strings.NewReader(in), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := tr.Slices.Len(); n != 1 || len(tr.Repairs.Count) > 0 {
			t.Fatalf("%d slices, repairs %v, of\n%s", n, tr.Repairs, in)
		}
		var got map[string]any
		if err := json.Unmarshal(tr.Args(tr.Slices.Args[0]), &got); err != nil {
			t.Fatal(err)
		}
		if want := value + digits; got["k"+key] != want {
			t.Fatalf("%q is %q, want %q", key, got["k"+key], want)
		}
		if v, _ := tr.ArgText(0, "k"+key); v != value+digits {
			t.Fatalf("looked up by its key %q is %q, want %q", key, v, value+digits)
		}
	})
}
