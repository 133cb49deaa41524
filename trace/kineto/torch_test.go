package kineto

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// TestTorchTraces reads what real torch wrote; python/tools/make_traces.py makes the files.
func TestTorchTraces(t *testing.T) {
	for name, want := range map[string]map[string]int{
		"torch_ops":                 {"decode_step": 4, "aten::linear": 8},
		"torch_shapes_memory_flops": {"decode_step": 4, "aten::addmm": 8},
		"torch_stack":               {"decode_step": 4, "aten::linear": 8},
		"torch_training":            {"AddmmBackward0": 4},
		"torch_gloo_rank0":          {"decode_step": 3, trace.NameAllReduce: 3, trace.NameBroadcast: 3},
		"torch_gloo_rank1":          {"decode_step": 3, trace.NameAllReduce: 3},
		"torch_session": {"decode_step": 4, "ProfilerStep#2": 1, trace.NameHandoffSend: 4,
			trace.NameHandoffRecv: 1},
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := ReadFile(context.Background(), filepath.Join("testdata", name+".json.gz"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if tr.Meta.Format != "kineto" || !tr.Meta.WallClock {
				t.Errorf("meta %+v", tr.Meta)
			}
			got := map[string]int{}
			for _, n := range tr.Slices.Name {
				got[tr.String(n)]++
			}
			for what, n := range want {
				if got[what] != n {
					t.Errorf("%d slices %s, want %d", got[what], what, n)
				}
			}
			if strings.HasPrefix(name, "torch_gloo") && (tr.Meta.Backend != "gloo" || tr.Meta.WorldSize != 2 ||
				tr.Meta.Rank < 0) {
				t.Errorf("meta %+v", tr.Meta)
			}
		})
	}
}

func TestTorchSession(t *testing.T) {
	tr, err := ReadFile(context.Background(), filepath.Join("testdata", "torch_session.json.gz"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m := tr.Meta; m.Stage != "talker" || m.StageID != 1 || m.Rank != 1 || m.WorldSize != 2 {
		t.Errorf("meta %+v", m)
	}
	step := int64(0)
	for i := range tr.Slices.Len() {
		if tr.String(tr.Slices.Name[i]) != trace.NameDecodeStep {
			continue
		}
		n, _ := tr.ArgInt(i, trace.ArgStep)
		requests, _ := tr.ArgText(i, trace.ArgRequests)
		if n != step || requests != "a,b" {
			t.Errorf("step %d of requests %q, want %d of a,b", n, requests, step)
		}
		step++
	}
	starts := 0
	for i, s := range tr.Flows.Start {
		if s {
			starts++
		} else if tr.Flows.ID[i] != 41 {
			t.Errorf("flow %d ends here, want 41", tr.Flows.ID[i])
		}
	}
	if starts != 4 || len(tr.Flows.ID) != 5 {
		t.Errorf("%d flows start of %d ends in all, want 4 of 5", starts, len(tr.Flows.ID))
	}
}
