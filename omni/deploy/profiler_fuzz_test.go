package deploy

import "testing"

func FuzzParseProfilerJSON(f *testing.F) {
	for _, s := range []string{`{"profiler": "torch"}`, `{"torch_profiler_with_stack": true, "delay_iterations": 3}`, `{}`,
		`[`, `{"profiler": null}`, `{"max_iterations": -1}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := ParseProfilerJSON(s); err == nil && o == nil {
			t.Fatalf("%q gives nothing, and no error", s)
		}
	})
}
