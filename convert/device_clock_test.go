package convert

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
)

const (
	launchNs = int64(4_000) // the least time from a launch to its kernel on an idle device
	epoch    = int64(1_790_000_000_000_000_000)
)

// deviceRank is a rank without collectives that launches n kernels, and waits for some, whose device's clock is by ns
// ahead of the host's.
func deviceRank(rng *rand.Rand, rank, n int, by int64) *trace.Trace {
	t := trace.New()
	t.Meta.WallClock, t.Meta.Rank, t.Meta.StageID, t.Meta.Host = true, rank, rank, fmt.Sprint("host", rank)
	host := t.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 1, TID: 1, Device: -1, Stream: -1})
	device := t.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: 7, Device: 0, Stream: 7})
	at := epoch
	for i := range n {
		corr := int64(i + 1)
		t.AddSlice(trace.Slice{Start: at, Dur: 3000, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime, Track: host,
			Corr: corr})
		begin := at + launchNs + rng.Int64N(2000)
		end := begin + 20_000 + rng.Int64N(30_000)
		t.AddSlice(trace.Slice{Start: begin + by, Dur: end - begin, Name: "gemm", Cat: trace.CatKernel, Track: device,
			Corr: corr})
		t.AddSlice(trace.Slice{Start: at + 4000, Dur: end + 2000 - at - 4000, Name: "cudaDeviceSynchronize",
			Cat: trace.CatCUDARuntime, Track: host, Corr: trace.NoCorrelation})
		at = end + 10_000
	}
	t.Window()
	return t
}

// A device whose clock differs from its host's is put on the host's clock in a timeline of several ranks, within what
// launches and waits leave open; one whose clock agrees stays where it is.
func TestDeviceClocksWithoutCollectives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		by := rapid.SampledFrom([]int64{0, 3_000, -50_000, 80_000, -7_000_000, 2_500_000}).Draw(t, "by")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		tr := deviceRank(rng, 0, 40, by)
		seen := look(tr)
		moved := OnHostClock(tr, seen.Clocks)
		switch {
		case by > -10_000 && by < 10_000: // less than clocks that agree differ by
			if moved != tr {
				t.Fatalf("a clock that is right by %d ns was moved: %+v", by, seen.Clocks)
			}
			return
		case len(seen.Clocks) != 1:
			t.Fatalf("a clock that is wrong by %d ns is believed: %+v", by, seen.Doubts)
		}
		if err := moved.Validate(); err != nil {
			t.Fatal(err)
		}
		// nothing begins before its launch, nothing ends after the call that waited for it
		for i := 0; i+2 < moved.Slices.Len(); i += 3 {
			s := &moved.Slices
			if early := s.Start[i] - s.Start[i+1]; early > 10_000 {
				t.Fatalf("kernel %d begins %d ns before its launch", i/3, early)
			}
			if late := s.End(i+1) - s.End(i+2); late > 10_000 {
				t.Fatalf("kernel %d ends %d ns after the call that waited for it", i/3, late)
			}
			if off := s.Start[i+1] - (tr.Slices.Start[i+1] - by); off > 20_000 || off < -20_000 {
				t.Fatalf("kernel %d is wrong by %d ns of %d", i/3, off, by)
			}
		}
	})
}

// Such a rank's place among others rests on its host's clock alone: its device moves nobody.
func TestDeviceClockMovesNoRank(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var ranks []align.Rank
	for i, by := range []int64{0, -7_000_000} {
		tr := deviceRank(rng, i, 40, by)
		ranks = append(ranks, AlignRank(tr, Scope(&tr.Meta), protocol.ClockError{}))
	}
	for i, c := range align.Align(ranks) {
		if c.OffsetNs != 0 || c.Contradicts || c.ErrorNs != align.UnprobedNs {
			t.Errorf("rank %d: %+v", i, c)
		}
	}
}
