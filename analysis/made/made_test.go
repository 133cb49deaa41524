package made

import (
	"reflect"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestOf(t *testing.T) {
	rank := func(host string, extra map[string]string, cards ...string) *trace.Trace {
		tr := trace.New()
		tr.Meta.Host, tr.Meta.Extra = host, extra
		for i, c := range cards {
			tr.Meta.Devices = append(tr.Meta.Devices, trace.Device{ID: i, Name: c})
		}
		return tr
	}
	for name, c := range map[string]struct {
		traces []*trace.Trace
		want   Made
	}{
		"nothing known": {[]*trace.Trace{rank("", nil)}, Made{[]string{}, []string{}}},
		"two ranks of one host see the same cards": {
			[]*trace.Trace{rank("h", nil, "X", "X"), rank("h", nil, "X", "X")}, Made{[]string{"2 × X"}, []string{}}},
		"two hosts, two kinds": {
			[]*trace.Trace{rank("g", nil, "X", "Y"), rank("h", nil, "X", ""), nil},
			Made{[]string{"2 × X", "Y"}, []string{}}},
		"versions": {
			[]*trace.Trace{rank("", map[string]string{"cuda_runtime_version": "12080",
				"vllm_version_tuple": `["0","32",0]`,
				"torch_version":      `"2.9.1+cpu"`, "schemaVersion": "1", "_version": "3", "broken_version": "{",
				"object_version": "{}", "long_version": `"` + strings.Repeat("x", maxVersion+1) + `"`}),
				rank("", map[string]string{"cuda_runtime_version": "12080"})},
			Made{[]string{}, []string{"cuda runtime 12080", "torch 2.9.1+cpu", "vllm 0.32.0"}}},
	} {
		if got := Of(c.traces...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
