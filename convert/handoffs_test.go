package convert

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace/sglangomni"
)

// Stages that stream hand the whole on after its pieces, while the next stage has begun with the first:
// only the pieces say something of clocks, and no clock that is right is moved.
func TestHandOffsOfStreams(t *testing.T) {
	var ranks []align.Rank
	files, err := filepath.Glob("../trace/sglangomni/testdata/events_*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		list, err := sglangomni.Read(t.Context(), in)
		in.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range list {
			ranks = append(ranks, AlignRank(tr, Scope(&tr.Meta), protocol.ClockError{}))
		}
	}
	if len(ranks) < 3 {
		t.Fatalf("%d stages", len(ranks))
	}
	matched := 0
	for i, c := range align.Align(ranks) {
		if c.OffsetNs != 0 || c.Early > 0 || c.Contradicts {
			t.Errorf("stage %d: %+v", i, c)
		}
		matched += c.HandOffs
	}
	if matched == 0 {
		t.Error("no hand-off was matched")
	}
	ahead := int64(60_000_000) // the clock of who only sends: everything arrives before it was sent
	for i := range ranks {
		received := func(h align.HandOff) bool { return !h.Sent }
		if of := ranks[i].HandOffs; !slices.ContainsFunc(of, received) {
			for k := range of {
				of[k].Ns += ahead
			}
		}
	}
	moved := false
	for i, c := range align.Align(ranks) {
		moved = moved || c.OffsetNs != 0
		if c.Early > 0 {
			t.Errorf("stage %d after its clock was set: %+v", i, c)
		}
	}
	if !moved {
		t.Error("nothing was moved")
	}
}
