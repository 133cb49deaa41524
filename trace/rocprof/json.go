package rocprof

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// FormatJSON is Meta.Format of traces read by ReadJSON.
const FormatJSON = "rocprof"

// maxJSON bounds the JSON in bytes, as all of it lies in memory; larger results belong into rocpd.
const maxJSON = 4 << 30

// handle is {"handle": n} or n.
type handle int64

// UnmarshalJSON implements json.Unmarshaler.
func (h *handle) UnmarshalJSON(b []byte) error {
	var o struct{ Handle uint64 }
	if len(b) > 0 && b[0] == '{' {
		err := json.Unmarshal(b, &o)
		*h = handle(o.Handle)
		return err
	}
	err := json.Unmarshal(b, &o.Handle)
	*h = handle(o.Handle)
	return err
}

type xyz struct{ X, Y, Z int64 }

func (v xyz) list() [3]int64 { return [3]int64{v.X, v.Y, v.Z} }

// tool is one process's result.
type tool struct {
	Metadata struct {
		PID  int64
		Node struct{ Hostname string }
	}
	Agents []struct {
		ID                handle
		Type              int    // 1 a processor, 2 a card
		NodeID            int64  `json:"node_id"`
		LogicalNodeTypeID *int64 `json:"logical_node_type_id"`
		Name              string
		ProductName       string `json:"product_name"`
		CUCount           int    `json:"cu_count"`
	}
	Strings struct {
		BufferRecords []struct {
			Kind       string
			Operations []string
		} `json:"buffer_records"`
		MarkerAPI []struct {
			Key   int64
			Value string
		} `json:"marker_api"`
	}
	KernelSymbols []struct {
		KernelID            int64  `json:"kernel_id"`
		KernelName          string `json:"kernel_name"`
		FormattedKernelName string `json:"formatted_kernel_name"`
	} `json:"kernel_symbols"`
	BufferRecords map[string]json.RawMessage `json:"buffer_records"`
}

// record is a record of any kind; what a kind does not have is zero.
type record struct {
	Kind, Operation int
	ThreadID        int64                    `json:"thread_id"`
	CorrelationID   struct{ Internal int64 } `json:"correlation_id"`
	Start           int64                    `json:"start_timestamp"`
	End             int64                    `json:"end_timestamp"`
	StreamID        handle                   `json:"stream_id"`
	DispatchInfo    struct {
		AgentID     handle `json:"agent_id"`
		QueueID     handle `json:"queue_id"`
		KernelID    int64  `json:"kernel_id"`
		PrivateSize int64  `json:"private_segment_size"`
		GroupSize   int64  `json:"group_segment_size"`
		Workgroup   xyz    `json:"workgroup_size"`
		Grid        xyz    `json:"grid_size"`
	} `json:"dispatch_info"`
	DstAgentID handle `json:"dst_agent_id"`
	SrcAgentID handle `json:"src_agent_id"`
	Bytes      int64
}

// kinds are the lists of records that are calls of the host, by the beginning of their name.
var kinds = []struct {
	prefix string
	cat    trace.Category
}{
	{"hip_", trace.CatCUDARuntime}, {"hsa_", trace.CatCUDADriver}, {"rccl_", trace.CatCPUOp},
	{"marker_", trace.CatUserAnnotation}, {"rocdecode_", trace.CatCPUOp}, {"rocjpeg_", trace.CatCPUOp},
}

// document is all of a result.
type document struct {
	Tools []json.RawMessage `json:"rocprofiler-sdk-tool"`
}

// decode reads the document. Of one that ends early it reads what is whole; cut says so.
func decode(r io.Reader) (doc document, cut bool, err error) {
	limited := &io.LimitedReader{R: r, N: maxJSON + 1}
	var text bytes.Buffer
	if _, err := text.ReadFrom(limited); err != nil {
		return doc, false, err
	}
	if limited.N <= 0 {
		return doc, false, &FormatError{Reason: fmt.Sprintf("over %d GiB of JSON: use rocpd", maxJSON>>30)}
	}
	err = json.Unmarshal(text.Bytes(), &doc)
	var bad *json.SyntaxError
	if !errors.As(err, &bad) {
		return doc, false, formatted(err)
	}
	switch { // doc is empty: syntax is looked at first
	case bad.Offset == int64(text.Len()):
		if whole := wholePart(text.Bytes()); whole != nil {
			return doc, true, formatted(json.Unmarshal(whole, &doc))
		}
	case json.Valid(text.Bytes()[:bad.Offset-1]): // text behind it
		return doc, false, formatted(json.Unmarshal(text.Bytes()[:bad.Offset-1], &doc))
	}
	return doc, false, formatted(err)
}

func formatted(err error) error {
	if err == nil {
		return nil
	}
	return &FormatError{Reason: err.Error()}
}

// wholePart returns JSON that ends early up to the last object or list that is whole, with those around it closed;
// nil if there is none.
func wholePart(text []byte) []byte {
	var open, atEnd []byte // what closes the objects and lists that are open, and were behind the last whole one
	end, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			open = append(open, '}')
		case c == '[':
			open = append(open, ']')
		case c == '}' || c == ']':
			if len(open) == 0 || open[len(open)-1] != c {
				return nil
			}
			open = open[:len(open)-1]
			end, atEnd = i+1, append(atEnd[:0], open...)
		}
	}
	if end == 0 {
		return nil
	}
	slices.Reverse(atEnd)
	return append(text[:end:end], atEnd...)
}

// ReadJSON reads the traces of a result, one a process. What is damaged is left out and counted.
func ReadJSON(ctx context.Context, r io.Reader) ([]*trace.Trace, error) {
	doc, cut, err := decode(r)
	if err != nil {
		return nil, err
	}
	var out []*trace.Trace
	for i, raw := range doc.Tools {
		var t tool
		if err := json.Unmarshal(raw, &t); err != nil {
			return nil, &FormatError{Reason: fmt.Sprintf("process %d: %v", i+1, err)}
		}
		tr, err := t.read(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, tr)
	}
	if len(out) == 0 {
		return nil, &FormatError{Reason: `it has nothing under "rocprofiler-sdk-tool"`}
	}
	if cut {
		out[len(out)-1].Repairs.Add(trace.RepairTruncatedFile, 1)
	}
	damaged := func(t *trace.Trace) bool { return t.Slices.Len() == 0 && t.Repairs.Damage() != "" }
	if !slices.ContainsFunc(out, func(t *trace.Trace) bool { return !damaged(t) }) {
		return nil, &FormatError{Reason: "none of its records can be read: " + out[0].Repairs.Damage()}
	}
	return out, nil
}

// records decodes a list of records. One that is none is left out and counted.
func (b *builder) records(raw json.RawMessage) []record {
	var list []record
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	var each []json.RawMessage
	if json.Unmarshal(raw, &each) != nil {
		b.t.Repairs.Add(trace.RepairSyntax, 1)
		return nil
	}
	list = make([]record, 0, len(each))
	for _, one := range each {
		var r record
		if json.Unmarshal(one, &r) != nil {
			b.t.Repairs.Add(trace.RepairSyntax, 1)
			continue
		}
		list = append(list, r)
	}
	return list
}

func (t *tool) read(ctx context.Context) (*trace.Trace, error) {
	b := newBuilder(FormatJSON)
	b.t.Meta.Host = t.Metadata.Node.Hostname
	b.t.Meta.PID = int(t.Metadata.PID)
	devices := t.devices(b)
	names := map[int64]string{}
	for _, k := range t.KernelSymbols {
		names[k.KernelID] = cmp.Or(k.FormattedKernelName, k.KernelName)
	}
	markers := map[int64]string{}
	for _, m := range t.Strings.MarkerAPI {
		markers[m.Key] = m.Value
	}
	for _, list := range slices.Sorted(maps.Keys(t.BufferRecords)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t.list(b, list, b.records(t.BufferRecords[list]), devices, names, markers)
	}
	return b.finish(), nil
}

// devices numbers the cards from 0 and returns their numbers by handle.
func (t *tool) devices(b *builder) map[handle]int64 {
	out := map[handle]int64{}
	n := int64(0)
	for _, a := range t.Agents {
		if a.Type != 2 {
			continue
		}
		id := n
		n++
		if a.LogicalNodeTypeID != nil && *a.LogicalNodeTypeID >= 0 {
			id = *a.LogicalNodeTypeID
		}
		out[a.ID] = id
		b.t.Meta.Devices = append(b.t.Meta.Devices, trace.Device{ID: int(id), Name: cmp.Or(a.ProductName, a.Name),
			SMs: a.CUCount})
	}
	return out
}

// operation is the name of a record's operation: "hipLaunchKernel".
func (t *tool) operation(r *record) string {
	if r.Kind < 0 || r.Kind >= len(t.Strings.BufferRecords) {
		return ""
	}
	ops := t.Strings.BufferRecords[r.Kind].Operations
	if r.Operation < 0 || r.Operation >= len(ops) {
		return t.Strings.BufferRecords[r.Kind].Kind
	}
	return ops[r.Operation]
}

func (t *tool) list(b *builder, list string, records []record, devices map[handle]int64, names,
	markers map[int64]string) {
	pid := t.Metadata.PID
	for i := range records {
		r := &records[i]
		corr := b.corr(pid, r.CorrelationID.Internal)
		switch list {
		case "kernel_dispatch":
			d := &r.DispatchInfo
			track := b.stream(pid, deviceOf(devices, d.AgentID), cmp.Or(int64(r.StreamID), int64(d.QueueID)), "")
			name := cmp.Or(names[d.KernelID], fmt.Sprintf("kernel %d", d.KernelID))
			b.kernel(name, track, corr, r.Start, r.End, dispatch{d.Grid.list(), d.Workgroup.list(), d.GroupSize,
				d.PrivateSize})
			continue
		case "memory_copy":
			device, ok := devices[r.DstAgentID]
			if !ok {
				device = deviceOf(devices, r.SrcAgentID)
			}
			name := cmp.Or(t.operation(r), "Memcpy")
			b.copied(copyName(name), b.stream(pid, device, int64(r.StreamID), ""), corr, r.Start, r.End, r.Bytes)
			continue
		}
		at := slices.IndexFunc(kinds, func(k struct {
			prefix string
			cat    trace.Category
		}) bool {
			return strings.HasPrefix(list, k.prefix)
		})
		if at < 0 {
			b.t.Repairs.Add(RepairOther+" "+list, len(records))
			return
		}
		name := cmp.Or(t.operation(r), list)
		if text := markers[r.CorrelationID.Internal]; text != "" && kinds[at].cat == trace.CatUserAnnotation {
			name = text
		}
		b.add(trace.Slice{Name: name, Cat: kinds[at].cat, Track: b.host(pid, r.ThreadID, "", ""), Corr: corr}, r.Start,
			r.End)
	}
}

func deviceOf(devices map[handle]int64, h handle) int64 {
	if d, ok := devices[h]; ok {
		return d
	}
	return 0
}

// copyName turns MEMORY_COPY_HOST_TO_DEVICE into the name that Kineto has.
func copyName(operation string) string {
	for _, k := range [][2]string{
		{"HOST_TO_DEVICE", "HtoD"}, {"DEVICE_TO_HOST", "DtoH"}, {"DEVICE_TO_DEVICE", "DtoD"}, {"HOST_TO_HOST", "HtoH"},
	} {
		if strings.Contains(operation, k[0]) {
			return "Memcpy " + k[1]
		}
	}
	return operation
}
