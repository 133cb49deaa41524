package omni

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
)

// A request's own trace context decides before its id does, in every stage and rank.
func TestTraceContextDecidesSampling(t *testing.T) {
	const every = 2
	o, err := deploy.ParseProfilerJSON(fmt.Sprintf(`{"sample_requests": %d}`, every))
	if err != nil {
		t.Fatal(err)
	}
	e := open(t, Config{Profiler: o})
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	var want []string
	next := 0
	for _, c := range []struct{ chosen, came, flag bool }{
		{true, true, true}, {true, true, false}, {true, false, false},
		{false, true, true}, {false, true, false}, {false, false, false},
	} {
		r := say("One by one.", 3)
		for r.ID == "" || wire.Sampled(r.ID, every) != c.chosen { // an id that is or is not chosen
			r.ID = fmt.Sprintf("request-%02d", next)
			next++
		}
		record := c.chosen
		if c.came {
			r.TraceParent, record = profiler.NewTraceParent(c.flag), c.flag
		}
		if record {
			want = append(want, r.ID)
		}
		if _, err := generate(t.Context(), e, r); err != nil {
			t.Fatal(err)
		}
	}
	st, err := e.StopProfile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	complete(t, st, 3, 4)
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			got := slices.Sorted(maps.Keys(requestsIn(t, filepath.Join(st.RunDir,
				store.ArtifactName(r.RankID, s.Name, "trace", ".json.gz")))))
			if !slices.Equal(got, want) {
				t.Errorf("stage %s rank %d recorded %v, want %v", s.Name, r.Rank, got, want)
			}
		}
	}
}
