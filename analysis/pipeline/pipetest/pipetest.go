// Package pipetest builds small captures of pipelines whose every duration is known,
// for the tests of packages that analyse or show them.
package pipetest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Epoch is the start of the captures, Unix ns.
const Epoch = int64(1_790_000_000_000_000_000)

// Us is a microsecond in ns.
const Us = int64(1000)

// Rank builds the trace of one rank. Times are in µs since Epoch.
type Rank struct {
	T    *trace.Trace
	Main trace.TrackID
}

// NewRank returns the trace of one rank with one thread and a window of windowUs.
func NewRank(stage int, name string, replica, rank, world int, windowUs int64) *Rank {
	t := trace.New()
	t.Meta.StageID, t.Meta.Stage, t.Meta.Replica, t.Meta.Rank, t.Meta.WorldSize = stage, name, replica, rank, world
	t.Meta.Format, t.Meta.Host, t.Meta.WallClock = "native", "host-a", true
	t.Meta.WindowStart, t.Meta.WindowEnd = Epoch, Epoch+windowUs*Us
	r := &Rank{T: t}
	r.Main = r.Thread("scheduler")
	return r
}

// Thread adds a lane.
func (r *Rank) Thread(name string) trace.TrackID {
	return r.T.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 100, TID: int64(len(r.T.Tracks)), Device: -1, Stream: -1,
		Name: name})
}

// Args are the arguments of a slice.
type Args map[string]any

// Slice adds an annotation to the main thread and returns its index.
func (r *Rank) Slice(name string, startUs, durUs int64, a Args) int {
	return r.On(r.Main, name, trace.CatUserAnnotation, startUs, durUs, a)
}

// Op adds an operator to the main thread.
func (r *Rank) Op(name string, startUs, durUs, flops int64) int {
	return r.On(r.Main, name, trace.CatCPUOp, startUs, durUs, Args{trace.ArgFLOPs: flops})
}

// AllReduce adds an all-reduce of n floats to the main thread.
func (r *Rank) AllReduce(startUs, durUs, n, seq int64, world int) int {
	return r.Collective(startUs, durUs, Collective{Name: trace.NameAllReduce, Op: "allreduce", In: n, Out: n, Seq: seq,
		World: world})
}

// Collective is what a rank says of a collective of its group "tp".
type Collective struct {
	Name    string // of the slice
	Op      string // as the backend names it
	In, Out int64  // floats that the rank gives and gets
	Seq     int64  // number of the collective in the group
	World   int    // ranks of the group
}

// Collective adds a collective to the main thread, as a native rank records it.
func (r *Rank) Collective(startUs, durUs int64, c Collective) int {
	return r.On(r.Main, c.Name, trace.CatCPUOp, startUs, durUs, Args{
		trace.ArgCollective: c.Op, trace.ArgInNelems: c.In, trace.ArgOutNelems: c.Out, trace.ArgDType: "Float",
		trace.ArgGroupSize: c.World, trace.ArgGroupName: "tp", trace.ArgSeq: c.Seq, trace.ArgBytes: 4 * c.In,
	})
}

// On adds a slice to a thread and returns its index.
func (r *Rank) On(id trace.TrackID, name string, cat trace.Category, startUs, durUs int64, a Args) int {
	var raw []byte
	if len(a) > 0 {
		b, err := json.Marshal(a)
		if err != nil {
			panic(fmt.Sprintf("pipetest: arguments of %s: %v", name, err))
		}
		raw = b
	}
	return r.T.AddSlice(trace.Slice{Start: Epoch + startUs*Us, Dur: durUs * Us, Name: name, Cat: cat, Track: id,
		Args: raw})
}

// Send adds a hand-off to stage to that begins flow id.
func (r *Rank) Send(to int, request string, startUs, durUs, bytes int64, id uint64) {
	r.Slice(trace.NameHandoffSend, startUs, durUs, Args{trace.ArgRequest: request, trace.ArgToStage: to,
		trace.ArgFromStage: r.T.Meta.StageID, trace.ArgBytes: bytes})
	r.T.AddFlow(Epoch+(startUs+1)*Us, id, "handoff", "handoff", r.Main, true)
}

// Recv adds a hand-off from stage from that ends flow id.
func (r *Rank) Recv(from int, request string, startUs, durUs, bytes int64, id uint64) {
	r.Slice(trace.NameHandoffRecv, startUs, durUs, Args{trace.ArgRequest: request, trace.ArgFromStage: from,
		trace.ArgToStage: r.T.Meta.StageID, trace.ArgBytes: bytes})
	r.T.AddFlow(Epoch+(startUs+durUs)*Us, id, "handoff", "handoff", r.Main, false)
}

// Requests joins request ids as trace.ArgRequests wants them.
func Requests(ids ...string) string { return strings.Join(ids, ",") }

// Collectives returns a capture of 20 ms of a thinker of two ranks that does an all-gather,
// a reduce-scatter, an all-to-all, a broadcast and an all-reduce in each of eight steps.
// Rank 1 enters each 20 µs after rank 0; both leave together.
func Collectives() []*trace.Trace {
	const window = 20_000
	out := make([]*trace.Trace, 2)
	for k := range out {
		r := NewRank(0, "thinker", 0, k, 2, window)
		late := 20 * int64(k)
		seq := int64(0)
		for step := range int64(8) {
			at := 1000 + 2000*step
			r.Slice(trace.NameDecodeStep, at, 1800, Args{trace.ArgTokens: 1, trace.ArgBatch: 1, trace.ArgStep: step})
			r.Op("aten::linear", at+10, 700, 70_000_000)
			for i, c := range []Collective{
				{Name: trace.NameAllGather, Op: "allgather", In: 8192, Out: 16384},
				{Name: "c10d::_reduce_scatter_base_", Op: "_reduce_scatter_base", In: 4096, Out: 2048},
				{Name: "c10d::alltoall_base_", Op: "all_to_allv", In: 1024, Out: 1024},
				{Name: trace.NameBroadcast, Op: "broadcast", In: 64, Out: 64},
				{Name: trace.NameAllReduce, Op: "allreduce", In: 512, Out: 512},
			} {
				c.Seq, c.World = seq, 2
				r.Collective(at+800+150*int64(i)+late, 100-late, c)
				seq++
			}
		}
		out[k] = r.T
	}
	return out
}

// Torch returns a capture of 20 ms of two ranks that run on a device each: ten gemms and,
// beside and after each, an all-gather of NCCL, launched from torch's operators, whose
// arguments only the host has. Rank 1 enters each 30 µs after rank 0.
func Torch() []*trace.Trace {
	out := make([]*trace.Trace, 2)
	for k := range out {
		r := NewRank(-1, "", 0, k, 2, 20_000)
		r.T.Meta.Format, r.T.Meta.Backend = "kineto", "nccl"
		stream := func(n int64) trace.TrackID {
			return r.T.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: int64(k), TID: n, Device: int64(k), Stream: n})
		}
		compute, comm := stream(7), stream(20)
		late := 30 * int64(k)
		corr := int64(0)
		launch := func(at int64, on trace.TrackID, name string, start, dur int64) {
			corr++
			for _, i := range []int{
				r.On(r.Main, "cudaLaunchKernel", trace.CatCUDARuntime, at, 4, Args{"correlation": corr}),
				r.On(on, name, trace.CatKernel, start, dur, Args{"correlation": corr}),
			} {
				r.T.Slices.Corr[i] = corr
			}
		}
		for step := range int64(10) {
			at := 500 + 1000*step
			r.On(r.Main, "aten::mm", trace.CatCPUOp, at, 30, nil)
			launch(at+10, compute, "ampere_bf16_gemm", at+50, 400)
			r.On(r.Main, "c10d::_allgather_base_", trace.CatCPUOp, at+100, 60, nil)
			r.On(r.Main, "record_param_comms", trace.CatCPUOp, at+110, 40, Args{
				trace.ArgCollective: "_allgather_base", trace.ArgInNelems: 1 << 16, trace.ArgOutNelems: 1 << 17,
				trace.ArgDType:     "BFloat16",
				trace.ArgGroupSize: 2, trace.ArgGroupName: "0", "Process Group Description": "default_pg",
				"Process Group Ranks": "[0, 1]",
				trace.ArgSeq:          step,
			})
			launch(at+120, comm, "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)", at+200+late,
				500-late)
		}
		out[k] = r.T
	}
	return out
}

// Omni returns a capture of 20 ms of thinker (two ranks), talker and code2wav with
// the requests "a" and "b".
//
// The way of request "a" to its first audio, in µs since Epoch: arrives 100; thinker
// prefill 300–1300 (sampling to 1400); one decode step 1400–2400; send 2400, received
// by the talker until 2600; talker prefill 2700–3200; four decode steps of 500 until
// 5200; send 5200, received by code2wav until 5350; vocoded 5400–7400.
func Omni() []*trace.Trace {
	const window = 20_000
	thinker := []*Rank{NewRank(0, "thinker", 0, 0, 2, window), NewRank(0, "thinker", 0, 1, 2, window)}
	for k, r := range thinker {
		omniThinker(r, int64(k))
	}
	talker := NewRank(1, "talker", 0, 0, 1, window)
	omniTalker(talker)
	vocoder := NewRank(2, "code2wav", 0, 0, 1, window)
	omniVocoder(vocoder)
	return []*trace.Trace{thinker[0].T, thinker[1].T, talker.T, vocoder.T}
}

// omniThinker: every step is 1000 µs: 700 of matrix products, an all-reduce. Rank 1
// enters each all-reduce 50 µs after rank 0 and both leave together.
func omniThinker(r *Rank, rank int64) {
	if rank == 0 {
		reqs := r.Thread("requests")
		r.On(reqs, trace.NameRequest, trace.CatUserAnnotation, 100, 9000, Args{trace.ArgRequest: "a"})
		r.On(reqs, trace.NameRequest, trace.CatUserAnnotation, 900, 9500, Args{trace.ArgRequest: "b"})
	}
	r.Slice(trace.NameWait, 0, 250, Args{trace.ArgReason: "queue"})
	r.Slice(trace.NameSchedule, 250, 50, nil)
	seq := int64(0)
	step := func(name, reqs string, at, tokens int64, batch int) {
		r.Slice(name, at, 1000, Args{trace.ArgRequests: reqs, trace.ArgTokens: tokens, trace.ArgBatch: batch,
			trace.ArgStep: seq})
		r.Op("aten::linear", at+10, 700, 70_000_000)
		r.Op("aten::mm", at+20, 600, 0)
		r.AllReduce(at+750+50*rank, 150-50*rank, 4096, seq, 2)
		seq++
	}
	step(trace.NamePrefill, "a", 300, 16, 1)
	r.Slice(trace.NameSample, 1300, 100, Args{trace.ArgRequests: "a"})
	step(trace.NameDecodeStep, "a", 1400, 1, 1)
	if rank == 0 {
		r.Send(1, "a", 2400, 100, 32768, 1)
	}
	step(trace.NamePrefill, "b", 2600, 16, 1)
	for i := range int64(6) {
		step(trace.NameDecodeStep, Requests("a", "b"), 3600+1000*i, 2, 2)
	}
	if rank == 0 {
		r.Send(1, "b", 9600, 100, 32768, 3)
	}
	r.Slice(trace.NameWait, 9800, 10_000, Args{trace.ArgReason: "queue"})
}

func omniTalker(r *Rank) {
	r.Slice(trace.NameWait, 0, 2500, Args{trace.ArgReason: "input"})
	r.Recv(0, "a", 2500, 100, 32768, 1)
	r.Slice(trace.NamePrefill, 2700, 500, Args{trace.ArgRequests: "a", trace.ArgTokens: 2})
	r.Op("aten::linear", 2710, 400, 8_000_000)
	for i := range int64(4) {
		r.Slice(trace.NameDecodeStep, 3200+500*i, 500, Args{trace.ArgRequests: "a", trace.ArgTokens: 1,
			trace.ArgBatch: 1, trace.ArgStep: i})
		r.Op("aten::linear", 3210+500*i, 400, 8_000_000)
	}
	r.Send(2, "a", 5200, 50, 512, 2)
	r.Slice(trace.NameWait, 5250, 4450, Args{trace.ArgReason: "input"})
	r.Recv(0, "b", 9700, 100, 32768, 3)
	r.Slice(trace.NamePrefill, 9800, 500, Args{trace.ArgRequests: "b", trace.ArgTokens: 2})
	for i := range int64(4) {
		r.Slice(trace.NameDecodeStep, 10_300+500*i, 500, Args{trace.ArgRequests: "b", trace.ArgTokens: 1,
			trace.ArgBatch: 1, trace.ArgStep: 4 + i})
	}
	r.Send(2, "b", 12_300, 50, 512, 4)
}

func omniVocoder(r *Rank) {
	r.Slice(trace.NameWait, 0, 5300, Args{trace.ArgReason: "input"})
	r.Recv(1, "a", 5300, 50, 512, 2)
	r.Slice(trace.NameVocode, 5400, 2000, Args{trace.ArgRequests: "a", trace.ArgTokens: 4})
	r.Op("aten::conv1d", 5410, 1900, 400_000_000)
	r.Slice(trace.NameWait, 7400, 5000, Args{trace.ArgReason: "input"})
	r.Recv(1, "b", 12_400, 50, 512, 4)
	r.Slice(trace.NameVocode, 12_500, 2000, Args{trace.ArgRequests: "b", trace.ArgTokens: 4})
	r.Op("aten::conv1d", 12_510, 1900, 400_000_000)
}

// Diffusion returns a capture of 30 ms of text encoder, dit and vae with one batch of
// the requests "x" and "y": encoded 500–1500, 16 denoise steps of 1000 µs from 2000,
// the last four 200 µs longer each, decoded 19 100–21 100.
func Diffusion() []*trace.Trace {
	const window = 30_000
	enc := NewRank(0, "text_encoder", 0, 0, 1, window)
	enc.Slice(trace.NameTextEncode, 500, 1000, Args{trace.ArgRequests: "x,y", trace.ArgBatch: 2})
	enc.Send(1, "x", 1500, 50, 8192, 11)
	enc.Send(1, "y", 1550, 50, 8192, 12)
	dit := NewRank(1, "dit", 0, 0, 1, window)
	dit.Slice(trace.NameWait, 0, 1600, Args{trace.ArgReason: "input"})
	dit.Recv(0, "x", 1600, 100, 8192, 11)
	dit.Recv(0, "y", 1700, 100, 8192, 12)
	at := int64(2000)
	for i := range int64(16) {
		d := int64(1000)
		if i >= 12 {
			d = 1200
		}
		dit.Slice(trace.NameDenoiseStep, at, d, Args{trace.ArgRequests: "x,y", trace.ArgBatch: 2, trace.ArgStep: i})
		dit.Op("aten::addmm", at, d-100, 50_000_000)
		at += d
	}
	dit.Send(2, "x", at, 100, 4096, 13)
	dit.Send(2, "y", at+100, 100, 4096, 14)
	vae := NewRank(2, "vae", 0, 0, 1, window)
	vae.Slice(trace.NameWait, 0, 18_900, Args{trace.ArgReason: "input"})
	vae.Recv(1, "x", 18_900, 50, 4096, 13)
	vae.Recv(1, "y", 18_950, 100, 4096, 14)
	vae.Slice(trace.NameVAEDecode, 19_100, 2000, Args{trace.ArgRequests: "x,y", trace.ArgBatch: 2})
	return []*trace.Trace{enc.T, dit.T, vae.T}
}
