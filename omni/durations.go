package omni

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"

	"github.com/kinetoscope/kinetoscope/omni/wire"
)

// StageDuration is how long a phase of a stage took since its ranks started, measured
// always, recording or not.
type StageDuration struct {
	Stage string // name
	Phase string // prefill, decode_step, text_encode, denoise_step, vae_decode, vocode, handoff
	wire.Durations
}

// StageDurations asks rank 0 of every replica what it measured. A stage that does not
// answer is missing from the result; err says which.
func (e *Engine) StageDurations(ctx context.Context) ([]StageDuration, error) {
	replies, err := e.CollectiveRPC(ctx, "durations", nil, nil)
	if err != nil {
		return nil, err
	}
	sums := map[[2]string]*wire.Durations{}
	var firstErr error
	for _, s := range replies {
		for _, r := range s.Ranks {
			if r.Rank != 0 {
				continue
			}
			phases := map[string]wire.Durations{}
			if data, err := json.Marshal(r.Result); err == nil && r.OK {
				err = json.Unmarshal(data, &phases)
				if err != nil {
					r.Error = err.Error()
				}
			}
			if r.Error != "" && firstErr == nil {
				firstErr = fmt.Errorf("durations of stage %d (%s) replica %d: %s", s.Stage, s.StageName, r.Replica, r.Error)
			}
			for phase, d := range phases {
				key := [2]string{s.StageName, phase}
				if sums[key] == nil {
					sums[key] = &wire.Durations{}
				}
				sums[key].Add(d)
			}
		}
	}
	var out []StageDuration
	for key, d := range sums {
		out = append(out, StageDuration{Stage: key[0], Phase: key[1], Durations: *d})
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Stage < out[j].Stage || out[i].Stage == out[j].Stage && out[i].Phase < out[j].Phase
	})
	return out, firstErr
}
