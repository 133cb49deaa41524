package split

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Files of many ranks that we write ourselves come apart by stage, replica and rank again.
func TestOwnFiles(t *testing.T) {
	tr := trace.New()
	tr.Meta.Format, tr.Meta.Rank, tr.Meta.StageID = "perfetto", -1, -1
	for i, name := range []string{"stage0 thinker rank 0", "stage0 thinker rank 1", "stage1 talker replica 1 rank 0",
		"stage1 talker rank 0"} {
		k := tr.AddTrack(trace.Track{PID: int64(i + 1), Process: name, Device: -1, Stream: -1})
		tr.AddSlice(trace.Slice{Start: int64(i), Dur: 5, Name: name, Track: k})
	}
	got := map[string]string{}
	for _, r := range Ranks(tr) {
		got[r.String(r.Slices.Name[0])] = fmt.Sprintf("%d %s %d %d", r.Meta.StageID, r.Meta.Stage, r.Meta.Replica,
			r.Meta.Rank)
	}
	for name, want := range map[string]string{
		"stage0 thinker rank 0": "0 thinker 0 0", "stage0 thinker rank 1": "0 thinker 0 1",
		"stage1 talker replica 1 rank 0": "1 talker 1 0", "stage1 talker rank 0": "1 talker 0 0",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

// TestOwnFileOfOne: a file of a single rank that we wrote says whose it is as well; one with another process in it,
// or of a rank that is known, is taken as it is.
func TestOwnFileOfOne(t *testing.T) {
	for _, c := range []struct {
		names []string
		known int
		want  string
	}{
		{[]string{"rank 34", "rank 34"}, -1, "-1  0 34"},
		{[]string{"stage1 talker replica 1 rank 2"}, -1, "1 talker 1 2"},
		{[]string{"thinker rank 3"}, -1, "-1 thinker 0 3"},
		{[]string{"rank 3", "python"}, -1, "-1  0 -1"},
		{[]string{"python (rank 3)"}, -1, "-1  0 -1"},
		{[]string{"rank 3"}, 5, "-1  0 5"},
		{nil, -1, "-1  0 -1"},
	} {
		tr := trace.New()
		tr.Meta.Format, tr.Meta.Rank = "perfetto", c.known
		for i, name := range c.names {
			tr.AddTrack(trace.Track{PID: int64(i + 1), Process: name, Device: -1, Stream: -1})
		}
		m := &Ranks(tr)[0].Meta
		if got := fmt.Sprintf("%d %s %d %d", m.StageID, m.Stage, m.Replica, m.Rank); got != c.want {
			t.Errorf("%q is %q, want %q", c.names, got, c.want)
		}
	}
}

// TestManyProcesses: as many processes as a file has room for are not tried on each other; it
// is said that they are not parted.
func TestManyProcesses(t *testing.T) {
	for _, c := range []struct{ ranks, want int }{{8, 8}, {maxRanks + 1, 1}, {4000, 1}} {
		tr := trace.New()
		tr.Meta.Format, tr.Meta.Rank = "kineto", -1
		for k := range int64(c.ranks) {
			host := tr.AddTrack(trace.Track{PID: 1000 + k, TID: 1, Device: -1, Stream: -1})
			dev := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: k, TID: 7, Device: 0, Stream: 7})
			for n := range int64(3) {
				at, corr := k*10+n*1000, 1+k*100+n
				tr.AddSlice(trace.Slice{Start: at, Dur: 5, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime,
					Track: host, Corr: corr})
				tr.AddSlice(trace.Slice{Start: at + 6, Dur: 5, Name: "gemm", Cat: trace.CatKernel, Track: dev,
					Corr: corr})
			}
		}
		got := Ranks(tr)
		if said := got[0].Repairs.Count[trace.RepairMerged] > 0; len(got) != c.want || said != (c.want == 1) {
			t.Errorf("%d ranks: %d traces, said %v", c.ranks, len(got), said)
		}
	}
}

// TestOneDeviceNumber: ranks whose work stands on one stream of one device, as where each saw its card
// as device 0, come apart by who launched what; where ids collide and the file does not tell
// either, it is said.
func TestOneDeviceNumber(t *testing.T) {
	for _, c := range []struct {
		name     string
		corr     int64 // added to the ids of each further rank
		streams  int64 // added to the streams of each further rank
		together bool  // a rank's rows stand together in the file
		want     int
	}{
		{"ids of their own", 1000, 0, false, 3},
		{"ids of their own, together", 1000, 0, true, 3},
		{"ids of their own on streams of their own", 1000, 10, false, 3},
		{"ids that collide, together", 0, 0, true, 3},
		{"ids that collide, by time", 0, 0, false, 3},
		{"ids that collide, by time, launched at once", 0, 0, false, 1},
	} {
		const ranks, rows = 3, 12
		tr := trace.New()
		tr.Meta.Format, tr.Meta.Rank = "kineto", -1
		lane := map[int64]trace.TrackID{}
		var hosts []trace.TrackID
		for k := range int64(ranks) {
			hosts = append(hosts, tr.AddTrack(trace.Track{PID: 1000 + k, TID: 1, Device: -1, Stream: -1}))
			if s := 7 + k*c.streams; lane[s] == 0 {
				lane[s] = tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: s, Device: 0, Stream: s})
			}
		}
		late := int64(6)
		if strings.Contains(c.name, "at once") {
			late = 250
		}
		put := func(k, n int64) {
			at, corr := n*1000+k*100, 1+n+k*c.corr
			tr.AddSlice(trace.Slice{Start: at, Dur: 5, Name: "hipLaunchKernel", Cat: trace.CatCUDARuntime,
				Track: hosts[k], Corr: corr})
			tr.AddSlice(trace.Slice{Start: at + late, Dur: 50 + k, Name: "gemm", Cat: trace.CatKernel,
				Track: lane[7+k*c.streams], Corr: corr})
		}
		for n := range int64(ranks * rows) {
			if c.together {
				put(n/rows, n%rows)
			} else {
				put(n%ranks, n/ranks)
			}
		}
		got := Ranks(tr)
		if said := got[0].Repairs.Count[trace.RepairMerged] > 0; len(got) != c.want || said != (c.want == 1) {
			t.Errorf("%s: %d traces, said %v", c.name, len(got), said)
			continue
		}
		for r, one := range got {
			if len(got) == 1 {
				break
			}
			if one.Slices.Len() != 2*rows || one.Meta.Rank != r {
				t.Errorf("%s: rank %d has %d slices", c.name, one.Meta.Rank, one.Slices.Len())
			}
			for i, cat := range one.Slices.Cat {
				if cat == trace.CatKernel && one.Slices.Dur[i] != int64(50+r) {
					t.Errorf("%s: rank %d has work of another one", c.name, r)
				}
			}
		}
	}
}

// TestStreamsOfTheirOwn: ranks with the same ids that launch at the same time, each on streams of its
// own: where their pace differs, work that begins as long after its launch each time says whose a
// stream is; where it does not, nothing does.
func TestStreamsOfTheirOwn(t *testing.T) {
	for _, c := range []struct {
		name   string
		jitter int64 // by which the second rank's launches differ, at most
		late   int64 // from launch to begin
		want   int
	}{
		{"pace of their own", 90, 200, 2},
		{"some work before the other's launch", 300, 5, 2},
		{"in step", 0, 200, 1},
	} {
		const rows = 40
		tr := trace.New()
		tr.Meta.Format, tr.Meta.Rank = "kineto", -1
		var hosts, lanes []trace.TrackID
		for k := range int64(2) {
			hosts = append(hosts, tr.AddTrack(trace.Track{PID: 1000 + k, TID: 1, Device: -1, Stream: -1}))
			lanes = append(lanes, tr.AddTrack(trace.Track{Kind: trace.TrackGPU, TID: 9 - k, Device: 0, Stream: 9 - k}))
		}
		for n := range int64(rows) {
			for k := range int64(2) {
				at := 1000*n + k*(n*37%(c.jitter+1))
				tr.AddSlice(trace.Slice{Start: at, Dur: 5, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime,
					Track: hosts[k], Corr: 1 + n})
				tr.AddSlice(trace.Slice{Start: at + c.late, Dur: 50 + k, Name: "gemm", Cat: trace.CatKernel,
					Track: lanes[k], Corr: 1 + n})
			}
		}
		got := Ranks(tr)
		if said := got[0].Repairs.Count[trace.RepairMerged] > 0; len(got) != c.want || said != (c.want == 1) {
			t.Errorf("%s: %d traces, said %v", c.name, len(got), said)
			continue
		}
		for r, one := range got {
			for i, cat := range one.Slices.Cat {
				if cat == trace.CatKernel && one.Slices.Dur[i] != int64(50+r) && c.want == 2 {
					t.Errorf("%s: rank %d has work of the other", c.name, r)
				}
			}
		}
	}
}

// TestQueuesOfDevice: a device whose process has rows of calls, as MTIA's submission queues, is no rank
// beside its host; a host with the number of a device is one.
func TestQueuesOfDevice(t *testing.T) {
	for _, c := range []struct {
		name   string
		follow bool // work follows the calls in the device's process
		want   int
	}{{"queues", false, 1}, {"a rank with the device's number", true, 2}} {
		tr := trace.New()
		tr.Meta.Format, tr.Meta.Rank = "kineto", -1
		host := tr.AddTrack(trace.Track{PID: 865, TID: 1, Device: -1, Stream: -1})
		queue := tr.AddTrack(trace.Track{PID: 17, TID: 2, Device: -1, Stream: -1})
		streams := []trace.TrackID{
			tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 17, TID: 101, Device: 17, Stream: 101}),
			tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 18, TID: 102, Device: 18, Stream: 102}),
		}
		for n := range int64(12) {
			for k, from := range []trace.TrackID{host, queue} {
				corr, at := 1+n+100*int64(k), 1000*n+int64(k)
				tr.AddSlice(trace.Slice{Start: at, Dur: 5, Name: "call", Cat: trace.CatMTIARuntime, Track: from,
					Corr: corr})
				if from == host || c.follow {
					tr.AddSlice(trace.Slice{Start: at + 6, Dur: 5, Name: "gemm", Cat: trace.CatMTIACCP,
						Track: streams[k], Corr: corr})
				}
			}
		}
		got := Ranks(tr)
		if said := got[0].Repairs.Count[trace.RepairMerged]; len(got) != c.want || said > 0 {
			t.Errorf("%s: %d traces, want %d; said to be merged: %v", c.name, len(got), c.want, said > 0)
		}
	}
}
