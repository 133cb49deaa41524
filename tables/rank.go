package tables

import (
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

// none is a value that a trace does not say.
const none = -1

// kernelsOf is work on devices with the call that launched it, as package view joins them.
func kernelsOf(r Rank) table.Table {
	t, s := r.Trace, &r.Trace.Slices
	v, parent := view.New(t), t.Index().Parent
	rows := make([]int32, 0, len(v.Work))
	for i := range int32(s.Len()) {
		if s.Cat[i].Busy() {
			rows = append(rows, i)
		}
	}
	call := func(i int) int32 { return v.Partner[rows[i]] }
	ofCall := func(f func(c int32) int64) func(i int) int64 {
		return func(i int) int64 {
			if c := call(i); c != view.None {
				return f(c)
			}
			return none
		}
	}
	track := func(i int) *trace.Track { return &t.Tracks[s.Track[rows[i]]] }
	return table.Table{
		Name: "kernels", Rows: len(rows),
		Doc: "work on devices (kernels, copies, fills), with the call that launched it and the operator around the call",
		Columns: table.Identity(r.Rank,
			table.Ints("id", "its slice, of table slices", func(i int) int64 { return int64(rows[i]) }),
			table.Ints("ts", "begin, ns", func(i int) int64 { return s.Start[rows[i]] }),
			table.Ints("dur", "duration, ns", func(i int) int64 { return s.Dur[rows[i]] }),
			table.Texts("name", "name", func(i int) string { return t.String(s.Name[rows[i]]) }),
			table.Texts("category", "kernel, gpu_memcpy, gpu_memset …",
				func(i int) string { return t.CategoryText(s.Cat[rows[i]]) }),
			table.Known("device", "number of the device", func(i int) int64 { return table.DeviceOf(track(i)) }),
			table.Known("stream", "stream of the device", func(i int) int64 { return table.StreamOf(track(i)) }),
			table.Known("correlation", "links it with its launch", func(i int) int64 { return s.Corr[rows[i]] }),
			table.Known("launch_id", "slice of the call that launched it",
				ofCall(func(c int32) int64 { return int64(c) })),
			table.Known("launch_ts", "begin of that call, ns", ofCall(func(c int32) int64 { return s.Start[c] })),
			table.Column{
				Name: "launch_to_start",
				Doc:  "from the begin of that call to its own, ns; negative where the trace contradicts itself",
				Type: table.Int64,
				Int: func(i int) (int64, bool) {
					c := call(i)
					if c == view.None {
						return 0, false
					}
					return s.Start[rows[i]] - s.Start[c], true
				},
			},
			table.Known("op_id", "slice of the operator around that call",
				ofCall(func(c int32) int64 { return int64(parent[c]) })),
			table.Args("the slice's other arguments, JSON", t,
				func(i int) trace.ArgsRef { return s.Args[rows[i]] }),
		),
	}
}

// stepsOf is the iterations that package steps finds.
func stepsOf(r Rank) table.Table {
	found := steps.Find(r.Trace, steps.Options{Seen: r.Subject.Seen(), Host: r.Subject.Host})
	at := func(i int) *steps.Step { return &found.Steps[i] }
	onDevice := func(f func(s *steps.Step) int64) func(int) int64 {
		return func(i int) int64 {
			if s := at(i); s.SpanNs > 0 {
				return f(s)
			}
			return none
		}
	}
	said := func(n int) int64 { // a label says it or not
		if n == 0 {
			return none
		}
		return int64(n)
	}
	return table.Table{
		Name: "steps", Rows: len(found.Steps),
		Doc: "iterations: prefill, decode, denoise steps and others, however they were found",
		Columns: table.Identity(r.Rank,
			table.Ints("id", "number of the step in its trace, by time", func(i int) int64 { return int64(i) }),
			table.Texts("kind",
				"prefill, decode, mixed, denoise, text_encode, vae_decode, vocode, generation, training, unknown",
				func(i int) string { return at(i).Kind.String() }),
			table.Ints("ts", "begin of its turn, ns", func(i int) int64 { return at(i).AtNs }),
			table.Ints("dur", "how long it took, ns: its turn on the devices, or its time on the host",
				func(i int) int64 { return at(i).Ns() }),
			table.Texts("name", "text of its label", func(i int) string { return at(i).Name }),
			table.Texts("found_by", "by what the trace's steps were found",
				func(int) string { return string(found.Method) }),
			table.Known("slice_id", "its label's slice, or the launch that it begins with",
				func(i int) int64 { return int64(at(i).Slice) }),
			table.Ints("host_ts", "begin on the host, ns", func(i int) int64 { return at(i).StartNs }),
			table.Ints("host_dur", "duration on the host, ns",
				func(i int) int64 { return at(i).EndNs - at(i).StartNs }),
			table.Known("batch", "sequences, of those that the label tells",
				func(i int) int64 { return said(at(i).Batch) }),
			table.Known("prefills", "sequences in prefill", func(i int) int64 { return said(at(i).Prefills) }),
			table.Known("tokens", "tokens computed", func(i int) int64 { return said(at(i).Tokens) }),
			table.Known("busy", "of dur: some stream of the device was busy, ns; of several devices the mean",
				onDevice(func(s *steps.Step) int64 { return s.BusyNs })),
			table.Known("host_idle", "of dur: the device waited for launches, ns",
				onDevice(func(s *steps.Step) int64 { return s.HostIdleNs })),
			table.Known("blind_idle", "of dur: idle before work whose launch is not in the trace, ns",
				onDevice(func(s *steps.Step) int64 { return s.BlindIdleNs })),
			table.Texts("bound", "who set its pace: device, host, other, none",
				func(i int) string { return at(i).Bound.String() }),
			table.Ints("kernels", "slices of device work", func(i int) int64 { return int64(at(i).Slices) }),
			table.Ints("launches", "calls that started device work",
				func(i int) int64 { return int64(at(i).Launches) }),
			table.Ints("graph_launches", "of them, replays of graphs",
				func(i int) int64 { return int64(at(i).GraphLaunches) }),
			table.Ints("missing_launches",
				"calls whose work the trace does not have: the step's device times are not to be trusted",
				func(i int) int64 { return int64(at(i).MissingLaunches) }),
		),
	}
}
