package open

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/badtraces"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

var (
	left  = profiler.Intern("left.over")
	other = profiler.Intern("other")
)

func recordingOf(t *testing.T, rank string) string {
	t.Helper()
	var out bytes.Buffer
	rec := profiler.New(profiler.Config{Process: "rank " + rank})
	track := rec.Track("main")
	if err := rec.Start(profiler.StartOptions{Out: &out, Meta: map[string]string{protocol.MetaStageID: "1",
		protocol.MetaStage: "talker", protocol.MetaRank: rank}}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		track.Begin(left, profiler.CategoryOp).End()
		track.Begin(other, profiler.CategoryOp).End()
	}
	if _, err := rec.Stop(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestRecordings reads recordings by every name that they had, packed or in an archive, and
// one that was cut.
func TestRecordings(t *testing.T) {
	a, b, c, d := recordingOf(t, "0"), recordingOf(t, "1"), recordingOf(t, "2"), recordingOf(t, "3")
	dir := lay(t, []badtraces.File{
		{Name: "01J/stage1_replica0_rank0.ksrec", Data: a}, {Name: "x.rec", Data: b},
		{Name: "old.kinrec.gz", Data: badtraces.Gzip(c)},
		{Name: "x.tar", Data: badtraces.Tar(badtraces.File{Name: "r.ksrec", Data: d[:len(d)-10]})},
		{Name: "copy.rec", Data: b},
	})
	var dropped []string
	list, err := Files(context.Background(), []string{dir},
		Options{Left: func(l Left) { dropped = append(dropped, l.Path) }})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tr := range list {
		got = append(got, fmt.Sprint(identity.Name(&tr.Meta), " ", tr.Repairs.Count[trace.RepairTruncatedFile]))
	}
	slices.Sort(got)
	if want := []string{"talker rank 0 0", "talker rank 1 0", "talker rank 2 0", "talker rank 3 1"}; !slices.Equal(got,
		want) {
		t.Errorf("%q", got)
	}
	if len(dropped) != 1 || !strings.Contains(dropped[0], ".rec") {
		t.Errorf("left out %q", dropped)
	}
}
