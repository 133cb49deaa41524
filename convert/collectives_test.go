package convert

import (
	"slices"
	"testing"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/trace"
)

func TestCollectives(t *testing.T) {
	tr := trace.New()
	cpu := tr.AddTrack(trace.Track{Device: -1, Stream: -1})
	add := func(start, dur int64, name, args string) {
		tr.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Cat: trace.CatCPUOp, Track: cpu,
			Args: []byte(args)})
	}
	add(20, 5, "c10d::allreduce_", `{"Process Group Name": "tp", "Seq": 8}`)
	add(10, 5, "c10d::allreduce_", `{"Process Group Name": "tp", "Seq": 7}`)
	add(30, 5, "record_param_comms", `{"Process Group Name": "tp", "Collective name": "allreduce"}`)
	add(40, 5, "record_param_comms", `{"Process Group Name": "tp", "Collective name": "wait"}`)
	add(50, 5, "c10d::allreduce_", `{"Process Group Name": "tp", "Seq": 9, "finished": false}`)
	add(60, 5, "aten::mm", `{"flops": 1}`)
	add(70, 5, "c10d::broadcast_", `{"Process Group Name": "tp", "Seq": 10}`)
	add(80, 5, "c10d::_reduce_scatter_base_",
		`{"Process Group Name": "tp", "Group size": 2, "Process Group Ranks": "[0, 1]", "Seq": 11}`)
	add(90, 5, "c10d::allreduce_", `{}`)
	tp := "tp\x000"
	want := []align.Collective{
		{Group: tp, Name: "allreduce", Seq: 7, Start: 10, End: 15},
		{Group: tp, Name: "allreduce", Seq: 8, Start: 20, End: 25},
		{Group: tp, Name: "allreduce", Seq: 0, Start: 30, End: 35},
		{Group: "tp\x000,1", Name: "reducescatter", Seq: 11, Start: 80, End: 85},
	}
	if got := collectives(look(tr)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU})
	tr.AddSlice(trace.Slice{Start: 33, Dur: 9, Name: "ncclDevKernel_AllReduce", Cat: trace.CatKernel, Track: gpu,
		Args: []byte(`{"Process Group Name": "tp", "Collective name": "allreduce"}`)})
	if got := collectives(look(tr)); !slices.Equal(got,
		[]align.Collective{{Group: tp, Name: "allreduce", Seq: 0, Start: 33, End: 42}}) {
		t.Errorf("with device work: %v", got)
	}
}
