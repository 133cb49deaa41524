package omni

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// StageDuration is how long a phase of a stage took since its ranks started, measured
// always, recording or not.
type StageDuration struct {
	Stage string // name
	Phase string // prefill, decode_step, text_encode, denoise_step, vae_decode, vocode, handoff
	wire.Durations
}

// StageDurations asks rank 0 of every replica for its measured durations. A stage that does not
// answer is missing from the result; err names it.
func (e *Engine) StageDurations(ctx context.Context) ([]StageDuration, error) {
	replies, err := e.CollectiveRPC(ctx, protocol.CallDurations, nil, nil)
	if err != nil {
		return nil, err
	}
	out, silent := SumDurations(replies)
	for _, s := range replies {
		if err := silent[s.StageName]; err != nil {
			return out, fmt.Errorf("durations of stage %d (%s): %w", s.Stage, s.StageName, err)
		}
	}
	return out, nil
}

// SumDurations adds up what rank 0 of every replica answered, by stage and phase. A
// stage of which a replica did not answer is not in the sums but in silent, by its
// name, with the reason.
func SumDurations(replies []protocol.StageReply) (sums []StageDuration, silent map[string]error) {
	silent = map[string]error{}
	for _, s := range replies {
		byPhase := map[string]*wire.Durations{}
		for _, r := range s.Ranks {
			if r.Rank != 0 {
				continue
			}
			phases, err := readDurations(r)
			if err != nil {
				silent[s.StageName] = fmt.Errorf("replica %d: %w", r.Replica, err)
				break
			}
			for phase, d := range phases {
				if byPhase[phase] == nil {
					byPhase[phase] = &wire.Durations{}
				}
				byPhase[phase].Add(d)
			}
		}
		if silent[s.StageName] != nil {
			continue
		}
		for phase, d := range byPhase {
			sums = append(sums, StageDuration{Stage: s.StageName, Phase: phase, Durations: *d})
		}
	}
	slices.SortFunc(sums, func(a, b StageDuration) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Phase, b.Phase))
	})
	return sums, silent
}

func readDurations(r protocol.CallReply) (map[string]wire.Durations, error) {
	if !r.OK {
		return nil, errors.New(cmp.Or(r.Error, "no answer"))
	}
	data, err := json.Marshal(r.Result)
	if err != nil {
		return nil, err
	}
	phases := map[string]wire.Durations{}
	return phases, json.Unmarshal(data, &phases)
}
