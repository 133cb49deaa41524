package analysis

import (
	"fmt"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// TestSizesThatCannotBe: a copy whose size is below 0, or more than any memory holds, has none that is known. The
// others count.
func TestSizesThatCannotBe(t *testing.T) {
	tr := trace.New()
	k := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
	for i, size := range []string{"-100", "9223372036854775807", "9223372036854775807", "400"} {
		tr.AddSlice(trace.Slice{Start: int64(100 * i), Dur: 4, Name: "Memcpy HtoD", Cat: trace.CatGPUMemcpy, Track: k,
			Args: fmt.Appendf(nil, `{"device": 0, "stream": 7, "bytes": %s, "memory bandwidth (GB/s)": -3}`, size)})
	}
	d := Bandwidth(tr, Options{}).Directions
	if len(d) != 1 || d[0].Count != 4 || d[0].Bytes != 400 || d[0].ByTime.Max != 100 {
		t.Errorf("%+v", d)
	}
}
