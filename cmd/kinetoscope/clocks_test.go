package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// drawRank writes Kineto's trace of a rank with 100 all-reduces, 50 ms apart, that end together
// but for up to 8 µs, on a clock that is by ns ahead and runs faster by ppm.
func drawRank(t *testing.T, dir string, rank, world int, by int64, ppm float64) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, uint64(rank)))
	all := make([]int, world)
	for i := range all {
		all[i] = i
	}
	members, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b,
		`{"schemaVersion": 1, "host_name": "node%[1]d", "distributedInfo": {"backend": "nccl", "rank": %[1]d, "world_size": %[2]d,
"pg_config": [{"pg_name": "0", "pg_desc": "tp", "backend_config": "nccl", "pg_size": %[2]d, "ranks": %[3]s}]},
"deviceProperties": [{"id": 0, "name": "card"}], "baseTimeNanoseconds": 1790000000000000000, "traceEvents": [`,
		rank, world, members)
	clock := func(ns int64) string {
		ns += by + int64(ppm*1e-6*float64(ns))
		return fmt.Sprintf("%d.%03d", ns/1000, ns%1000)
	}
	for i := range int64(100) {
		meet := 10_000_000_000 + i*50_000_000
		enter, leave := meet-rng.Int64N(900_000), meet+60_000+rng.Int64N(8000)
		fmt.Fprintf(&b, `
{"ph": "X", "cat": "cpu_op", "name": "record_param_comms", "pid": 9, "tid": 9, "ts": %[1]s, "dur": 20, "args": {"External id": %[3]d, "Collective name": "allreduce", "Process Group Name": "0", "Process Group Description": "tp", "Group size": %[4]d, "In msg nelems": 64, "Out msg nelems": 64, "dtype": "Float", "Seq": %[3]d}},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 9, "ts": %[1]s, "dur": 5, "args": {"External id": %[3]d, "correlation": %[3]d}},
{"ph": "X", "cat": "kernel", "name": "ncclDevKernel_AllReduce_Sum_f32_RING_LL", "pid": 0, "tid": 7, "ts": %[1]s, "dur": %.3[2]f, "args": {"correlation": %[3]d, "device": 0, "stream": 7, "External id": %[3]d, "Collective name": "allreduce", "Process Group Name": "0", "Process Group Description": "tp", "Group size": %[4]d, "In msg nelems": 64, "Out msg nelems": 64, "dtype": "Float", "Seq": %[3]d}},`,
			clock(enter), float64(leave-enter)/1000*(1+ppm*1e-6), i+1, world)
	}
	text := strings.TrimSuffix(b.String(), ",") + "]}"
	path := filepath.Join(dir, fmt.Sprintf("rank%d.json", rank))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// merged runs merge and returns what it said, and the ends of each rank's kernels in the file.
func merged(t *testing.T, out string, args ...string) (said string, ends [][]int64) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append(append([]string{"merge"}, args...), "-o", out)
	if code := run(context.Background(), args, cli.Streams{Out: &stdout, Err: &stderr}); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	found, err := open.Find([]string{out})
	if err != nil {
		t.Fatal(err)
	}
	err = open.EachSource(t.Context(), found, open.Options{}, func(_ int, tr *trace.Trace) error {
		var e []int64
		for i, c := range tr.Slices.Cat {
			if c == trace.CatKernel {
				e = append(e, tr.Slices.End(i))
			}
		}
		ends = append(ends, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return stderr.String(), ends
}

// merge puts ranks on one clock: within 20 µs at both ends of the window, whatever their
// clocks were, and says how far it moved them and what is left.
func TestMergeRecoversClocks(t *testing.T) {
	dir := t.TempDir()
	a := drawRank(t, dir, 0, 2, 0, 0)
	b := drawRank(t, dir, 1, 2, 7_000_000, 30)
	said, ends := merged(t, filepath.Join(dir, "both.json"), a, b)
	if len(ends) != 2 || len(ends[0]) != 100 || len(ends[1]) != 100 {
		t.Fatalf("%d traces in the file; %s", len(ends), said)
	}
	for i := range ends[0] {
		if d := ends[1][i] - ends[0][i]; d > 20_000 || d < -20_000 {
			t.Errorf("collective %d ends %d ns apart", i, d)
		}
	}
	for _, want := range []string{"Clocks", "drift ppm", "node1"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	if strings.Contains(said, "WARNING") {
		t.Error(said)
	}
}

// Two captures of several ranks are strangers to each other though every rank has others beside it.
func TestMergeRefusesTwoCaptures(t *testing.T) {
	var paths []string
	for first, later := range []int64{0, 3_600_000_000_000} { // the second has one collective less: none in common
		dir := t.TempDir()
		paths = append(paths, drawGloo(t, dir, 0, first, -later), drawGloo(t, dir, 1, first, -later))
	}
	out := filepath.Join(t.TempDir(), "all.json")
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append([]string{"merge", "-o", out}, paths...), cli.Streams{Out: &stdout, Err: &stderr})
	if code != cli.ExitUsage || !strings.Contains(stderr.String(), "and 1 other trace lie 59 min 55 s apart from all others") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

// drawGloo writes the trace of one of two ranks of a host with 100 all-reduces of gloo, which names no group and no
// number, from collective first on, on a clock that is by ns behind.
func drawGloo(t *testing.T, dir string, rank, first int, by int64) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, uint64(rank)))
	var b strings.Builder
	fmt.Fprintf(&b, `{"schemaVersion": 1, "host_name": "box", "distributedInfo": {"backend": "gloo", "rank": %d, "world_size": 2},
"baseTimeNanoseconds": 1790000000000000000, "traceEvents": [`, rank)
	for i := range int64(100) {
		meet := 10_000_000_000 + i*50_000_000
		enter, leave := meet-rng.Int64N(900_000), meet+60_000+rng.Int64N(8000)
		if i < int64(first) {
			continue
		}
		fmt.Fprintf(&b, `
{"ph": "X", "cat": "user_annotation", "name": "gloo:all_reduce", "pid": 9, "tid": 9, "ts": %d.%03d, "dur": %.3f, "args": {"Input type": ["float"], "Input Dims": [[10, 256]]}},
{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": %[1]d.%03[2]d, "dur": %.3[3]f, "args": {"device": 0, "stream": 7}},`,
			(enter-by)/1000, (enter-by)%1000, float64(leave-enter)/1000)
	}
	path := filepath.Join(dir, fmt.Sprintf("rank%d.json", rank))
	if err := os.WriteFile(path, []byte(strings.TrimSuffix(b.String(), ",")+"]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Collectives of all ranks tie clocks without the name of a group, unless one rank has fewer of them; a clock that they
// contradict in part is said, though the host has one name.
func TestMergeWithoutGroups(t *testing.T) {
	for name, c := range map[string]struct {
		first int
		by    int64
		want  string // what is said, "" if there is no warning
	}{
		"right":         {0, 0, ""},
		"behind":        {0, 250_000_000, ""},
		"a little":      {0, 400_000, "collectives before another rank had entered"},
		"one is missed": {1, 0, "none in common"},
	} {
		dir := t.TempDir()
		a, b := drawGloo(t, dir, 0, 0, 0), drawGloo(t, dir, 1, c.first, c.by)
		said, ends := merged(t, filepath.Join(dir, "both.json"), a, b)
		if c.want != "" && !strings.Contains(said, "WARNING") || !strings.Contains(said, c.want) ||
			c.want == "" && strings.Contains(said, "WARNING") {
			t.Errorf("%s: %s", name, said)
		}
		if c.want != "" {
			continue
		}
		for i := range ends[0] {
			if d := ends[1][i] - ends[0][i]; d > 20_000 || d < -20_000 {
				t.Fatalf("%s: collective %d ends %d ns apart", name, i, d)
			}
		}
	}
}

// Traces of different captures are refused, and what to do is said; who insists gets them with a
// warning. Tables have each trace on its own clock, so that they take any.
func TestMergeRefusesStrangers(t *testing.T) {
	dir := t.TempDir()
	a := drawRank(t, dir, 0, 2, 0, 0)
	b := drawRank(t, dir, 1, 2, 3_600_000_000_000, 0) // an hour later, numbered alike
	out := filepath.Join(dir, "both.json")
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"merge", a, b, "-o", out}, cli.Streams{Out: &stdout, Err: &stderr})
	if code != cli.ExitUsage {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	for _, want := range []string{"two captures", "--force", "DIR/"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q is not said:\n%s", want, stderr.String())
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a file was written")
	}
	said, _ := merged(t, out, a, b, "--force")
	if !strings.Contains(said, "WARNING: ") || !strings.Contains(said, "two captures") {
		t.Error(said)
	}
	stderr.Reset()
	args := []string{"convert", a, b, "-o", filepath.Join(dir, "tables") + "/"}
	if code := run(t.Context(), args, cli.Streams{Out: &stdout, Err: &stderr}); code != 0 {
		t.Errorf("tables: exit code %d: %s", code, stderr.String())
	}
}

// drawStage writes the events of a stage of SGLang-Omni that got n requests and sent each on 2 ms
// later, or only sent them, on a clock that is by ns ahead.
func drawStage(t *testing.T, dir, stage, next string, n int, by int64) string {
	t.Helper()
	var b strings.Builder
	say := func(i int, event, metadata string, ns int64) {
		fmt.Fprintf(&b, `{"request_id": "r%d", "stage": %q, "event_name": %q, "timestamp_ns": %d, "run_id": "x", "pid": 1, "metadata": %s}`+"\n",
			i, stage, event, 1_790_000_000_000_000_000+ns+by, metadata)
	}
	for i := range n {
		at := int64(i) * 100_000_000
		if next == "" {
			at += 2_150_000 // 150 µs on the way
		}
		say(i, "stage_input_received", `{"from_stage": "thinker"}`, at)
		if next != "" {
			say(i, "stage_hop_sent", fmt.Sprintf(`{"to_stage": %q}`, next), at+2_000_000)
		}
		say(i, "stage_complete", "{}", at+3_000_000)
	}
	path := filepath.Join(dir, fmt.Sprintf("events_%s_1.jsonl", stage))
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Stages that no collective ties are put so that nothing arrives before it was sent; how little
// more is known is said.
func TestMergeGoesByHandOffs(t *testing.T) {
	dir := t.TempDir()
	a := drawStage(t, dir, "thinker", "talker", 8, 0)
	b := drawStage(t, dir, "talker", "", 8, -5_000_000)
	out := filepath.Join(dir, "both.json")
	said, _ := merged(t, out, a, b)
	found, err := open.Find([]string{out})
	if err != nil {
		t.Fatal(err)
	}
	times := map[string][]int64{}
	err = open.EachSource(t.Context(), found, open.Options{}, func(_ int, tr *trace.Trace) error {
		for i, name := range tr.Slices.Name {
			to, _ := tr.ArgText(i, "to")
			if to == "talker" {
				times[tr.String(name)] = append(times[tr.String(name)], tr.Slices.Start[i])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sent, arrived := times[trace.NameHandoffSend], times[trace.NameHandoffRecv]
	if len(sent) != 8 || len(arrived) != 8 {
		t.Fatalf("%d sent, %d arrived: %s", len(sent), len(arrived), said)
	}
	for i := range sent {
		if d := arrived[i] - sent[i]; d < 0 || d > 100_000 {
			t.Errorf("hand-off %d arrives %d ns after it was sent", i, d)
		}
	}
	if !strings.Contains(said, "998 ms") || strings.Contains(said, "WARNING") {
		t.Error(said)
	}
}
