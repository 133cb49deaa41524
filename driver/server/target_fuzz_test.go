package server

import (
	"net/url"
	"testing"
)

// A target that is taken can be asked: its base is the URL of a host.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"vllm://h:8000", "sglang+https://h/base", "vllm://", "http://h", "vllm://u:p@h",
		"x", "vllm://[::1]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		to, err := ParseTarget(s)
		if err != nil {
			return
		}
		if u, err := url.Parse(to.URL); err != nil || u.Host == "" {
			t.Fatalf("%q is taken as %+v: %v", s, to, err)
		}
	})
}
