package coll

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/trace"
)

// TestGroup: the name, size and members of a group, from what the arguments of a collective and the header say of it.
func TestGroup(t *testing.T) {
	const ranks, start, stride = `"Process Group Ranks": `, `"Global rank start": `, `"Global rank stride": `
	header := func(groups ...trace.ProcessGroup) []trace.ProcessGroup { return groups }
	odd, even := []int{1, 3, 5, 7}, []int{0, 2, 4, 6}
	for _, c := range []struct {
		name   string
		args   string
		world  int
		header []trace.ProcessGroup
		want   string // name, size, members
	}{
		{"name and size", `"Process Group Name": "3", "Group size": 4`, 0, nil, `"3" 4 []`},
		{"an id stands for a name", `"Process Group ID": 7, "Group size": 4`, 0, nil, `"7" 4 []`},
		{"beside a name it says nothing", `"Process Group Name": "3", "Process Group ID": 7`, 0, nil, `"3" 0 []`},
		{"a description", `"Process Group Name": "3", "Process Group Description": "tp"`, 0, nil, `"3 tp" 0 []`},
		{"one that says no more than the name", `"Process Group Name": "tp", "Process Group Description": "tp"`, 0, nil,
			`"tp" 0 []`},
		{"torch's for none", `"Process Group Name": "3", "Process Group Description": "undefined"`, 0, nil, `"3" 0 []`},
		{"the largest size", `"Group size": 1048575`, 0, nil, `"" 1048575 []`},
		{"a larger one is damage", `"Group size": 1048576`, 0, nil, `"" 0 []`},
		{"members tell the size", ranks + `"[1, 0]"`, 0, nil, `"" 2 [0 1]`},
		{"a rank twice is damage", ranks + `"[1, 1]", "Group size": 2`, 0, nil, `"" 2 []`},
		{"a rank that cannot be", ranks + `"[0, 1048576]"`, 0, nil, `"" 0 []`},
		{"the last rank that can", ranks + `"[0, 1048575]"`, 0, nil, `"" 2 [0 1048575]`},
		{"no ranks", ranks + `"[]"`, 0, nil, `"" 0 []`},
		{"first rank and stride", start + `4, ` + stride + `2, "Group size": 3`, 0, nil, `"" 3 [4 6 8]`},
		{"the first of all", start + `0, ` + stride + `1, "Group size": 2`, 0, nil, `"" 2 [0 1]`},
		{"no rank is below 0", start + `-1, ` + stride + `1, "Group size": 2`, 0, nil, `"" 2 []`},
		{"a stride of nothing", start + `0, ` + stride + `0, "Group size": 2`, 0, nil, `"" 2 []`},
		{"a stride without a size", start + `0, ` + stride + `1`, 0, nil, `"" 0 []`},
		{"from the header", `"Process Group Name": "3"`, 0, header(trace.ProcessGroup{Name: "3", Ranks: even}),
			`"3" 4 [0 2 4 6]`},
		{"the header's with the trace's own rank", `"Process Group Name": "3"`, 8,
			header(trace.ProcessGroup{Name: "3", Ranks: odd}, trace.ProcessGroup{Name: "3", Ranks: even}),
			`"3" 4 [0 2 4 6]`},
		{"two that fit, and one cannot be told", `"Process Group Name": "3"`, 8,
			header(trace.ProcessGroup{Name: "3", Ranks: even}, trace.ProcessGroup{Name: "3", Ranks: []int{0, 1}}),
			`"3" 0 []`},
		{"two that fit, told by the size", `"Process Group Name": "3", "Group size": 2`, 8,
			header(trace.ProcessGroup{Name: "3", Ranks: even}, trace.ProcessGroup{Name: "3", Ranks: []int{0, 1}}),
			`"3" 2 [0 1]`},
		{"of another description", `"Process Group Name": "3", "Process Group Description": "tp"`, 8,
			header(trace.ProcessGroup{Name: "3", Desc: "dp", Ranks: even}), `"3 tp" 0 []`},
		{"a header without descriptions", `"Process Group Name": "3", "Process Group Description": "tp"`, 8,
			header(trace.ProcessGroup{Name: "3", Ranks: even}), `"3 tp" 4 [0 2 4 6]`},
		{"of another name", `"Process Group Name": "4"`, 8, header(trace.ProcessGroup{Name: "3", Ranks: even}),
			`"4" 0 []`},
		{"whose known ranks are not in it", `"Process Group Name": "3", ` + ranks + `"[0, 1, ...]"`, 8,
			header(trace.ProcessGroup{Name: "3", Ranks: even}), `"3" 0 []`},
	} {
		s := newScene()
		s.tr.Meta.WorldSize, s.tr.Meta.ProcessGroups = c.world, c.header
		s.op("record_param_comms", 0, 10, `{"Collective name": "allreduce", "In msg nelems": 8, `+c.args+`}`)
		list := Read(plausible.Look(s.tr).View).Collectives
		if len(list) != 1 {
			t.Errorf("%s: %d collectives", c.name, len(list))
			continue
		}
		x := &list[0]
		if got := fmt.Sprintf("%q %d %v", x.Group, x.GroupSize, x.Members); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// TestElements: how many elements a shape has, or several together; what cannot be is refused.
func TestElements(t *testing.T) {
	for _, c := range []struct {
		shape string
		want  int64 // -1: refused
	}{
		{`[7]`, 7},
		{`[2, 3, 4]`, 24},
		{`[0, 5]`, 0}, // an empty tensor
		{`[[2, 3], [4]]`, 10},
		{`[]`, -1}, // no tensor
		{`[[]]`, -1},
		{`[-1]`, -1},
		{`[281474976710656]`, 1 << 48}, // the most
		{`[281474976710657]`, -1},
		{`[2, 281474976710656]`, -1},
		{`[281474976710656, 2]`, -1},
		{`[[281474976710655], [1]]`, 1 << 48},
		{`[[281474976710656], [1]]`, -1},
		{`"x"`, -1},
	} {
		got, ok := elements(json.RawMessage(c.shape))
		if !ok {
			got = -1
		}
		if got != c.want {
			t.Errorf("%s: %d elements, want %d", c.shape, got, c.want)
		}
	}
}

// TestShapes: the sizes of an operator's first two tensors in bytes, of those whose type and shape are known.
func TestShapes(t *testing.T) {
	for _, c := range []struct {
		name, dims, types string
		want              shapes
	}{
		{"two tensors", `[[4], [2, 3]]`, `["float", "c10::Half"]`, shapes{2, 16, 12, "c10::Half"}},
		{"a third one is counted alone", `[[1], [2], [3]]`, `["float", "float", "long int"]`,
			shapes{3, 4, 8, "long int"}},
		{"what is no tensor is passed over", `[[], [4], [2]]`, `["Scalar", "int", "int"]`, shapes{2, 16, 8, "int"}},
		{"a type that is not known", `[[4], [2]]`, `["strange", "int"]`, shapes{1, 8, 0, "int"}},
		{"fewer types than shapes", `[[4], [2]]`, `["int"]`, shapes{1, 16, 0, "int"}},
		{"damage", `[[4]`, `["int"]`, shapes{}},
	} {
		if got := shapesOf([]byte(c.dims), []byte(c.types)); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}
