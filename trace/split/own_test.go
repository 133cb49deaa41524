package split

import (
	"fmt"
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
