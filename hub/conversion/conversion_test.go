package conversion

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/runs"
	"github.com/kinetoscope/kinetoscope/trace"
)

const id = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

// recording writes a recording of one decode step.
func recording(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a"+format.Ext)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rec := profiler.New(profiler.Config{})
	if err := rec.Start(profiler.StartOptions{Out: f, Meta: map[string]string{protocol.MetaStage: "thinker",
		protocol.MetaRank: "0"}}); err != nil {
		t.Fatal(err)
	}
	rec.Track("scheduler").Begin(profiler.Intern(trace.NameDecodeStep), profiler.CategoryAnnotation).End()
	if _, err := rec.Stop(); err != nil {
		t.Fatal(err)
	}
	return path
}

// collected is a session of four ranks: one left a recording, one a trace and stacks of
// its own, one a trace that cannot be read, one nothing.
func collected(t *testing.T) (hub.ConvertInput, map[int]error) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	run, err := s.Create(time.Now(), "", id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run.Close() })
	rank := func(n int, files map[string]string) hub.ConvertRank {
		r := hub.ConvertRank{StageName: "thinker", Config: protocol.DefaultProfilerConfig(),
			Status: protocol.RankStatus{
				RankID: protocol.RankID{Pipeline: "p", Rank: n}, StageName: "thinker", State: protocol.StateComplete,
				Session: id}}
		for name, text := range files {
			kind := protocol.KindTrace
			if strings.Contains(name, "stacks") {
				kind = protocol.KindStacks
			}
			a, err := run.Write(name, kind, strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			r.Files = append(r.Files, a)
		}
		return r
	}
	first := rank(0, nil)
	first.Recording = recording(t)
	lacks := map[int]error{}
	in := hub.ConvertInput{Run: run, RunDir: run.Dir(), Progress: func(int, int, string) {},
		Lacks: func(r protocol.RankID, err error) { lacks[r.Rank] = err },
		Ranks: []hub.ConvertRank{first,
			rank(1, map[string]string{
				"stage0_thinker/trace_rank1.json": `{"traceEvents":[{"ph":"X","cat":"cpu_op","name":"aten::mm","pid":1,"tid":1,"ts":1,"dur":2}]}`,
				// As Kineto's stacks are called where a rank makes its own.
				"stage0_thinker/stacks_cpu_rank1.txt": "its own",
			}),
			rank(2, map[string]string{"stage0_thinker/trace_rank2.json": "no trace"}),
			rank(3, nil)}}
	in.Session = session.Status{ID: id, Stages: []session.StageStatus{{Name: "thinker"}}}
	for _, r := range in.Ranks {
		in.Session.Stages[0].Ranks = append(in.Session.Stages[0].Ranks, r.Status)
	}
	return in, lacks
}

func TestWhatOneRankLacksKeepsBackNobody(t *testing.T) {
	in, lacks := collected(t)
	perRank, whole, err := Session(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	kinds := func(n int) (out []protocol.ArtifactKind) {
		for _, a := range perRank[in.Ranks[n].Status.RankID] {
			out = append(out, a.Kind)
		}
		slices.Sort(out)
		return out
	}
	if got := kinds(0); !slices.Contains(got, protocol.KindTrace) || !slices.Contains(got, protocol.KindOps) {
		t.Errorf("of a recording came %v", got)
	}
	if got := kinds(1); slices.Contains(got, protocol.KindTrace) || slices.Contains(got, protocol.KindStacks) ||
		!slices.Contains(got, protocol.KindOps) {
		t.Errorf("of a ready trace came %v: want what the rank did not make itself", got)
	}
	if data, err := os.ReadFile(filepath.Join(in.RunDir, "stage0_thinker", "stacks_cpu_rank1.txt")); err != nil ||
		string(data) != "its own" {
		t.Errorf("the rank's own stacks are %q, %v", data, err)
	}
	if kinds(2) != nil || kinds(3) != nil || len(lacks) != 1 || lacks[2] == nil {
		t.Errorf("rank 2 has %v, rank 3 %v, lacking are %v", kinds(2), kinds(3), lacks)
	}
	var names []string
	for _, a := range whole {
		names = append(names, a.Name)
	}
	if !slices.Equal(names, []string{"timeline.pftrace", runs.ReportName, runs.PictureName}) {
		t.Errorf("the run has %v", names)
	}
	if rep, err := runs.Report(in.RunDir); err != nil || rep == nil {
		t.Errorf("report: %v, %v", rep, err)
	}
}

func TestWith(t *testing.T) {
	in, _ := collected(t)
	broken := errors.New("no more")
	_, whole, err := With(func(r *store.Run) ([]protocol.Artifact, error) {
		a, err := r.Write("outputs/a.txt", protocol.KindOutput, strings.NewReader("x"))
		return []protocol.Artifact{a}, errors.Join(err, broken)
	})(t.Context(), in)
	if !errors.Is(err, broken) || len(whole) != 4 || whole[3].Name != "outputs/a.txt" {
		t.Errorf("%+v, %v", whole, err)
	}
}

func TestCanceled(t *testing.T) {
	in, _ := collected(t)
	ctx, cancel := context.WithCancel(t.Context())
	in.Progress = func(done, _ int, _ string) {
		if done == 1 {
			cancel()
		}
	}
	if _, _, err := Session(ctx, in); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
