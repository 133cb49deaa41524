package convert

import (
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// Outcomes are the ranks of a session that did not complete, or whose artifacts lack
// something, as the pipeline's report says them.
func Outcomes(s *session.Status) []pipeline.Outcome {
	var out []pipeline.Outcome
	for _, st := range s.Stages {
		for i := range st.Ranks {
			r := &st.Ranks[i]
			if r.State == protocol.StateComplete && r.Reason == "" {
				continue
			}
			out = append(out, pipeline.Outcome{
				StageID: r.Stage, Stage: r.StageName, Replica: r.Replica, Rank: r.Rank, State: string(r.State),
				Reason: r.Reason,
			})
		}
	}
	return out
}
