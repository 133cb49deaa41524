package scrape

import (
	"maps"
	"slices"
	"strings"
)

// Series is one quantity that is followed while servers are profiled.
type Series struct {
	Name string  // for charts, with its unit
	Of   string  // as a Condition has it
	Unit float64 // what is shown is the metric's value times this
}

// Watched are the quantities that say how a server's requests fare: how many there are, what they
// wait for, how full the cache of keys and values is. Histograms are of what was observed between
// two samples.
var Watched = []Series{
	{"requests running", "running", 1},
	{"requests waiting", "waiting", 1},
	{"KV cache used %", "kv_use", 100},
	{"TTFT p50 ms", "ttft_p50", 1e3},
	{"TTFT p99 ms", "ttft_p99", 1e3},
	{"time per output token mean ms", "tpot_mean", 1e3},
	{"time in queue mean ms", "queue_mean", 1e3},
	{"prompt tokens/s", "prompt_tokens_rate", 1},
	{"generated tokens/s", "generated_tokens_rate", 1},
	{"preemptions/s", "preemptions_rate", 1},
}

// omniGauges begin the names of what servers of several stages say of each.
var omniGauges = []string{"vllm:omni_", "vllm_omni:", "sglang_omni:", "sglang:omni_"}

// MaxSeries bounds what is followed of one server: the watched ones, and gauges of its stages.
const MaxSeries = 64

// Value is a series' value at one time.
type Value struct {
	Name  string
	Value float64
}

// Values are what is known of the series between two samples, of which before is nil for the first one: in
// the order of Watched, then the gauges of a server's stages by name.
func Values(before, now *Sample) []Value {
	var out []Value
	for _, s := range Watched {
		if v, known, err := (term{name: s.Of}).value(before, now); err == nil && known {
			out = append(out, Value{s.Name, v * s.Unit})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now.Values)) {
		omni := func(begin string) bool { return strings.HasPrefix(name, begin) }
		if len(out) == MaxSeries {
			break
		}
		if now.Gauges[name] && slices.ContainsFunc(omniGauges, omni) {
			out = append(out, Value{name, now.Values[name]})
		}
	}
	return out
}
