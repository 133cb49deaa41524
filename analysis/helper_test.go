package analysis

import (
	"fmt"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// maker builds small traces; times are microseconds.
type maker struct {
	tr             *trace.Trace
	host, aux      trace.TrackID // threads 100 and 101
	s7, s20, other trace.TrackID // streams 7 and 20 of device 0, stream 7 of device 1
	corr           int64
}

func newMaker() *maker {
	m := &maker{tr: trace.New()}
	m.tr.Meta.Rank = 0
	m.host = m.tr.AddTrack(trace.Track{PID: 1, TID: 100, Device: -1, Stream: -1})
	m.aux = m.tr.AddTrack(trace.Track{PID: 1, TID: 101, Device: -1, Stream: -1})
	m.s7 = m.tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: 7, Device: 0, Stream: 7})
	m.s20 = m.tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: 20, Device: 0, Stream: 20})
	m.other = m.tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 1, TID: 7, Device: 1, Stream: 7})
	return m
}

func (m *maker) slice(track trace.TrackID, cat trace.Category, name string, start, dur float64, args string) int {
	return m.tr.AddSlice(trace.Slice{Start: int64(start * 1000), Dur: int64(dur * 1000), Name: name, Cat: cat,
		Track: track, Args: []byte(args)})
}

func (m *maker) kernel(track trace.TrackID, name string, start, dur float64) int {
	return m.slice(track, trace.CatKernel, name, start, dur, "")
}

func (m *maker) op(name string, start, dur float64) int {
	return m.slice(m.host, trace.CatCPUOp, name, start, dur, "")
}

// launched adds a launch call on the host and the device slice that it starts.
func (m *maker) launched(track trace.TrackID, name string, call, callDur, start, dur float64) (host, dev int) {
	m.corr++
	host = m.slice(m.host, trace.CatCUDARuntime, "cudaLaunchKernel", call, callDur,
		fmt.Sprintf(`{"correlation": %d}`, m.corr))
	m.tr.Slices.Corr[host] = m.corr
	dev = m.kernel(track, name, start, dur)
	m.tr.Slices.Corr[dev] = m.corr
	return host, dev
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func wantNear(t *testing.T, what string, got, want float64) {
	t.Helper()
	if d := got - want; d > 1e-9 || d < -1e-9 {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
