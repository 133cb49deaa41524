package trace_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

// TestIntArgs: the integers of an object are those that RefArgInt reads one by one, whatever stands
// for them: a hole, a fixed number, a text, a number with a sign or a fraction, nothing.
func TestIntArgs(t *testing.T) {
	keys := []string{"Bytes", "Addr", "Device Id", "External id", "none"}
	values := []string{"7", "123456", "-123456", `"4242"`, `"x"`, "1.5", "3e2", "0", "-3", "null", "[123456]",
		"18446744073709551615", `"0x7fff0000"`, "12345678901234567890123"}
	rapid.Check(t, func(rt *rapid.T) {
		tr := trace.New()
		var refs []trace.ArgsRef
		for range rapid.IntRange(1, 30).Draw(rt, "objects") {
			raw := "{"
			for k, key := range rapid.SliceOfN(rapid.SampledFrom(keys), 0, 5).Draw(rt, "keys") {
				if k > 0 {
					raw += ", "
				}
				raw += fmt.Sprintf("%q: %s", key, rapid.SampledFrom(values).Draw(rt, "value"))
			}
			refs = append(refs, tr.AddArgs([]byte(raw+"}")))
		}
		a := tr.IntArgs(keys...)
		val, ok := make([]int64, len(keys)), make([]bool, len(keys))
		for _, r := range refs {
			a.Read(r, val, ok)
			for k, key := range keys {
				if v, is := tr.RefArgInt(r, key); ok[k] != is || is && val[k] != v {
					rt.Fatalf("%s of %s: %d %v, want %d %v", key, tr.Args(r), val[k], ok[k], v, is)
				}
			}
		}
	})
}
