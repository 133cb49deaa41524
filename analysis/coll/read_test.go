package coll

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/trace"
)

// scene builds a trace of one rank; times are µs.
type scene struct {
	tr         *trace.Trace
	main, pool trace.TrackID // threads
	gpu        trace.TrackID
	corr       int64
}

func newScene() *scene {
	tr := trace.New()
	tr.Meta.Rank = 0
	return &scene{
		tr:   tr,
		main: tr.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1}),
		pool: tr.AddTrack(trace.Track{PID: 1, TID: 2, Device: -1, Stream: -1}),
		gpu:  tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: 20, Device: 0, Stream: 20}),
	}
}

func (s *scene) on(track trace.TrackID, cat trace.Category, name string, start, dur int64, args string) int {
	return s.tr.AddSlice(trace.Slice{Start: start * us, Dur: dur * us, Name: name, Cat: cat, Track: track,
		Args: []byte(args)})
}

func (s *scene) op(name string, start, dur int64, args string) {
	s.on(s.main, trace.CatCPUOp, name, start, dur, args)
}

// launch adds a call and the kernel that it starts.
func (s *scene) launch(call int64, name string, start, dur int64, args string) {
	s.corr++
	for _, i := range []int{s.on(s.main, trace.CatCUDARuntime, "cudaLaunchKernel", call, 3, ""),
		s.on(s.gpu, trace.CatKernel, name, start, dur, args)} {
		s.tr.Slices.Corr[i] = s.corr
	}
}

const recorded = `"dtype": "Float", "Group size": 4, "Process Group Name": "3", "Process Group Description": "tp", "Seq": 5`

// lines are the collectives in short: op, group, ranks, type, bytes in and out, number, time.
func lines(t Table) string {
	var out []string
	for _, c := range t.Collectives {
		out = append(out, fmt.Sprintf("%s %q %d %s %d>%d #%d @%d+%d %v", c.Op, c.Group, c.GroupSize, c.DType, c.InBytes,
			c.OutBytes, c.Seq, c.StartNs/us, c.Ns/us, c.Members))
	}
	return strings.Join(out, "; ")
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name    string
		build   func(s *scene)
		want    string
		unknown int
	}{
		{"operator, record and label are one", func(s *scene) {
			s.op("c10d::_allgather_base_", 0, 100, "")
			s.op("record_param_comms", 10, 80,
				`{"Collective name": "_allgather_base", "In msg nelems": 8, "Out msg nelems": 32, `+recorded+`}`)
			s.on(s.main, trace.CatUserAnnotation, "nccl:all_gather", 20, 60, "")
		}, `allgather "3 tp" 4 Float 32>128 #5 @0+100 []`, 0},
		{"kernel with arguments of its record on the host", func(s *scene) {
			s.op("c10d::_reduce_scatter_base_", 0, 100, "")
			s.op("record_param_comms", 10, 80,
				`{"Collective name": "_reduce_scatter_base", "In msg nelems": 32, "Out msg nelems": 8, `+recorded+`}`)
			s.launch(20, "ncclDevKernel_ReduceScatter_Sum_f32_RING_LL", 150, 40, "")
		}, `reducescatter "3 tp" 4 Float 128>32 #5 @150+40 []`, 0},
		{"size of the other side follows", func(s *scene) {
			s.op("c10d::allgather_", 0, 10, `{"Collective name": "allgather", "In msg nelems": 8, `+recorded+`}`)
		}, `allgather "3 tp" 4 Float 32>128 #5 @0+10 []`, 0},
		{"members as text", func(s *scene) {
			s.op("record_param_comms", 0, 10,
				`{"Collective name": "allreduce", "In msg nelems": 8, "Process Group Ranks": "[6, 2, 4, 0]", `+recorded+
					`}`)
		}, `allreduce "3 tp" 4 Float 32>32 #5 @0+10 [0 2 4 6]`, 0},
		{"members cut off, whole in the header", func(s *scene) {
			s.tr.Meta.WorldSize = 8
			s.tr.Meta.ProcessGroups = []trace.ProcessGroup{{Name: "3", Desc: "tp", Ranks: []int{1, 3, 5, 7}},
				{Name: "3", Desc: "tp", Ranks: []int{0, 2, 4, 6}}}
			s.op("record_param_comms", 0, 10,
				`{"Collective name": "allreduce", "In msg nelems": 8, "Process Group Ranks": "[0, 2, ...]", `+recorded+
					`}`)
		}, `allreduce "3 tp" 4 Float 32>32 #5 @0+10 [0 2 4 6]`, 0},
		{"members by first rank and stride", func(s *scene) {
			s.op("record_param_comms", 0, 10,
				`{"Collective name": "allreduce", "In msg nelems": 8, "Global rank start": 1, "Global rank stride": 2, `+recorded+`}`)
		}, `allreduce "3 tp" 4 Float 32>32 #5 @0+10 [1 3 5 7]`, 0},
		{"members that contradict the size", func(s *scene) {
			s.op("record_param_comms", 0, 10,
				`{"Collective name": "allreduce", "In msg nelems": 8, "Process Group Ranks": "[0, 1]", `+recorded+`}`)
		}, `allreduce "3 tp" 4 Float 32>32 #5 @0+10 []`, 0},
		{"several between start and end of coalescing", func(s *scene) {
			s.on(s.main, trace.CatUserAnnotation, "nccl:coalesced", 0, 100, "")
			s.op("record_param_comms", 10, 10, `{"Collective name": "allreduce", "In msg nelems": 8, `+recorded+`}`)
			s.op("record_param_comms", 30, 10, `{"Collective name": "allreduce", "In msg nelems": 16, `+recorded+`}`)
		}, `allreduce "3 tp" 4 Float 32>32 #5 @10+10 []; allreduce "3 tp" 4 Float 64>64 #5 @30+10 []`, 0},
		{"waits move nothing", func(s *scene) {
			s.op("record_param_comms", 0, 10, `{"Collective name": "wait"}`)
			s.op("_c10d_functional::wait_tensor", 20, 10, "")
			s.op("record_param_comms", 40, 10, `{"Collective name": "init", "Group size": 2}`)
		}, "", 0},
		{"Gloo runs on a thread of its own; shapes tell sizes", func(s *scene) {
			s.op("c10d::allreduce_", 0, 10,
				`{"Input Dims": [[[10, 256]], [], []], "Input type": ["TensorList", "", ""]}`)
			s.on(s.pool, trace.CatUserAnnotation, "gloo:all_reduce", 30, 500,
				`{"Input Dims": [[10, 256]], "Input type": ["float"]}`)
			s.op("c10d::_allgather_base_", 600, 10,
				`{"Input Dims": [[2, 256], [1, 256], []], "Input type": ["float", "float", ""]}`)
			s.on(s.pool, trace.CatUserAnnotation, "gloo:all_gather", 620, 100, "")
		}, `allreduce "" 0 float 10240>10240 #-1 @30+500 []; allgather "" 0 float 1024>2048 #-1 @620+100 []`, 0},
		{"a label whose operator the window cut off", func(s *scene) {
			s.on(s.pool, trace.CatUserAnnotation, "gloo:all_reduce", 0, 50,
				`{"Input Dims": [[4]], "Input type": ["float"]}`)
			s.op("c10d::allreduce_", 60, 10, "")
			s.on(s.pool, trace.CatUserAnnotation, "gloo:all_reduce", 70, 50,
				`{"Input Dims": [[8]], "Input type": ["float"]}`)
		}, `allreduce "" 0 float 16>16 #-1 @0+50 []; allreduce "" 0 float 32>32 #-1 @70+50 []`, 0},
		{"kernels by name alone", func(s *scene) {
			s.launch(0, "ncclDevKernel_SendRecv", 10, 5, "")
			s.launch(20, "void deep_ep::internode::dispatch<1>(int*)", 30, 5, "")
			s.launch(40, "rcclGenericKernel", 50, 5, "")
			s.launch(60, "ampere_sgemm", 70, 5, "")
		}, `sendrecv "" 0  0>0 #-1 @10+5 []; dispatch "" 0  0>0 #-1 @30+5 []; unknown "" 0  0>0 #-1 @50+5 []`, 3},
		{"damaged arguments", func(s *scene) {
			s.op("c10d::allreduce_", 0, 10,
				`{"Collective name": "allreduce", "In msg nelems": -7, "Group size": -1, "Process Group Ranks": "[x", "dtype": 3, "Input Dims": [[281474976710656, 281474976710656]], "Input type": ["float"]}`)
		}, `allreduce "" 0  0>0 #-1 @0+10 []`, 0},
	} {
		s := newScene()
		c.build(s)
		got := Read(plausible.Look(s.tr).View)
		if l := lines(got); l != c.want || got.Unknown != c.unknown {
			t.Errorf("%s:\n got %s, %d unknown\nwant %s, %d", c.name, l, got.Unknown, c.want, c.unknown)
		}
	}
}

func TestGuesses(t *testing.T) {
	s := newScene()
	s.launch(0, "my_moe_dispatch_tokens", 10, 50, "")
	s.launch(20, "ampere_sgemm", 100, 500, "")
	got := Read(plausible.Look(s.tr).View).Guesses
	if len(got) != 1 || got[0].Name != "my_moe_dispatch_tokens" || got[0].SumNs != 50*us {
		t.Errorf("got %+v", got)
	}
	s.tr.Meta.WorldSize = 8
	got = Read(plausible.Look(s.tr).View).Guesses
	if len(got) != 2 || got[1].Name != "ampere_sgemm" {
		t.Errorf("a rank of eight without communication: %+v", got)
	}
	s.launch(600, "nccl_all", 700, 5, "")
	if got = Read(plausible.Look(s.tr).View).Guesses; len(got) != 1 {
		t.Errorf("with communication: %+v", got)
	}
	if text := GuessText(got); !strings.Contains(text, "my_moe_dispatch_tokens") || strings.Contains(text, "sgemm") {
		t.Errorf("said %q", text)
	}
}
