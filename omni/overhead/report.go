package overhead

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Schema is the version of Report as JSON; it grows when a field changes its meaning or
// goes away.
const Schema = 1

// Report is what profiling costs a pipeline.
type Report struct {
	SchemaVersion int      `json:"schema_version"`
	Pipeline      string   `json:"pipeline"`
	Rounds        int      `json:"rounds"`
	Requests      int      `json:"requests"` // in each state of each round
	Concurrency   int      `json:"concurrency"`
	States        []string `json:"states"` // the first is what the others are compared with
	// Phases are the steps of the stages that time them, in the order of the pipeline.
	Phases []Phase `json:"phases"`
	// Unmeasured are the stages that do not.
	Unmeasured []Unmeasured `json:"unmeasured"`
	Latency    []Value      `json:"latency_s"`      // of a request, mean; by state
	Throughput []Value      `json:"requests_per_s"` // by state
	Drops      uint64       `json:"drops"`          // spans that the recordings could not hold
}

// Phase is one kind of step of a stage. Steps are those of rank 0 of every replica.
type Phase struct {
	StageID int             `json:"stage_id"`
	Stage   string          `json:"stage"`
	Engine  protocol.Engine `json:"engine"`
	Phase   string          `json:"phase"`  // prefill, decode_step, text_encode, denoise_step, vae_decode, vocode
	States  []Step          `json:"states"` // in the order of Report.States
}

// Step is a phase in one state.
type Step struct {
	Steps uint64 `json:"steps"` // in all rounds
	Value
}

// Value is a quantity in one state.
type Value struct {
	State  string  `json:"state"`
	Median float64 `json:"median"`          // of the rounds' means; a step's is in s; 0 if there is none
	Ratio  *Ratio  `json:"ratio,omitempty"` // to the first state; nil there, and where a round has not both
}

// Unmeasured is a stage that does not say how long its steps take.
type Unmeasured struct {
	StageID int    `json:"stage_id"`
	Stage   string `json:"stage"`
	Reason  string `json:"reason"`
}

// phaseOrder is the order in which a request meets phases; others come after them.
var phaseOrder = []string{trace.NameTextEncode, trace.NamePrefill, trace.NameDecodeStep, trace.NameDenoiseStep,
	trace.NameVAEDecode, trace.NameVocode}

// phaseHandoff is not a step: how long it takes depends on when the next stage looks.
const phaseHandoff = "handoff"

// report sums the turns up.
func (m *meter) report() *Report {
	r := &Report{SchemaVersion: Schema, Pipeline: m.eng.Model(), Rounds: m.o.Rounds, Requests: len(m.o.Load),
		Concurrency: m.o.Concurrency, Phases: []Phase{}, Unmeasured: []Unmeasured{}, Drops: m.drops}
	for _, s := range m.states {
		r.States = append(r.States, s.name)
	}
	for _, st := range m.stages {
		if why := m.silent[st.Name]; why != nil {
			r.Unmeasured = append(r.Unmeasured, Unmeasured{StageID: st.ID, Stage: st.Name, Reason: why.Error()})
			continue
		}
		for _, phase := range m.phasesOf(st) {
			r.Phases = append(r.Phases, m.phase(st, phase))
		}
	}
	r.Latency = m.values(func(t *turn) float64 { return t.latency })
	r.Throughput = m.values(func(t *turn) float64 { return t.rate })
	return r
}

// phasesOf are the phases of which a stage made steps, in any state.
func (m *meter) phasesOf(st omni.StageInfo) []string {
	steps := map[string]uint64{}
	for _, round := range m.turns {
		for _, t := range round {
			for key, d := range t.phases {
				if key.stage == st.Name && key.phase != phaseHandoff && d.Count > 0 {
					steps[key.phase] += d.Count
				}
			}
		}
	}
	names := make([]string, 0, len(steps))
	for name := range steps {
		names = append(names, name)
	}
	place := func(name string) int {
		if i := slices.Index(phaseOrder, name); i >= 0 {
			return i
		}
		return len(phaseOrder)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b)) })
	return names
}

func (m *meter) phase(st omni.StageInfo, phase string) Phase {
	key := phaseKey{st.Name, phase}
	out := Phase{StageID: st.ID, Stage: st.Name, Engine: st.Engine, Phase: phase}
	mean := func(t *turn) float64 { return t.phases[key].SumSeconds / float64(t.phases[key].Count) }
	for i, v := range m.values(mean) {
		step := Step{Value: v}
		for _, round := range m.turns {
			step.Steps += round[i].phases[key].Count
		}
		out.States = append(out.States, step)
	}
	return out
}

// values gives a quantity of every turn its median in each state, and its ratios to the first.
func (m *meter) values(of func(*turn) float64) []Value {
	var base []float64
	var out []Value
	for i, s := range m.states {
		var rounds []float64
		for _, round := range m.turns {
			rounds = append(rounds, of(&round[i]))
		}
		v := Value{State: s.name, Median: median(rounds)}
		if i == 0 {
			base = rounds
		} else {
			v.Ratio = Compare(base, rounds)
		}
		out = append(out, v)
	}
	return out
}
