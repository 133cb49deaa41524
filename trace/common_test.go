package trace_test

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestCommonName(t *testing.T) {
	for name, want := range map[string]string{
		"":                     "",
		"ProfilerStep#12":      "ProfilerStep",
		"ProfilerStep 12":      "ProfilerStep",
		"ProfilerStep # 12":    "ProfilerStep",
		"ProfilerStep":         "ProfilerStep",
		"ProfilerStep#":        "ProfilerStep#",
		"ProfilerStepper#1":    "ProfilerStepper#1",
		"a ProfilerStep#1":     "a ProfilerStep#1",
		"aten::mm":             "aten::mm",
		"<recv of S at 0x7fA>": "<recv of S>",
		"f at 0x1 at 0xg":      "f at 0xg",
		"f at 0xg at 0x1f, 2":  "f at 0xg, 2",
		"f at 0x1 at 0x2 at 0": "f at 0",
		"f at 0x":              "f at 0x",
	} {
		if got := trace.CommonName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
