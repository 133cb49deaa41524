package analysis

import (
	"encoding/json"

	"github.com/kinetoscope/kinetoscope/trace"
)

// CounterTable is what the hardware counted: the ranges of CUPTI's range profiler, one
// a kernel or one a user's range.
type CounterTable struct {
	Rank int          `json:"rank"`
	Rows []CounterRow `json:"rows"` // by range name, most ranges first
}

// CounterRow is all ranges of one name.
type CounterRow struct {
	Name    string        `json:"name"`
	Count   int           `json:"count"`
	Ns      int64         `json:"ns"` // summed durations
	Metrics []MetricStats `json:"metrics"`
	First   int           `json:"first"` // slice
}

// MetricStats describes one metric over the ranges of a name, in the metric's unit.
type MetricStats struct {
	Metric string `json:"metric"`
	Stats  Stats  `json:"stats"`
}

// Counters answers what the hardware counters say by range.
func Counters(tr *trace.Trace, opt Options) CounterTable { return newFrame(tr, opt).counters() }

func (f *frame) counters() CounterTable {
	out := CounterTable{Rank: f.rank}
	s := &f.tr.Slices
	at := map[trace.StringID]int{}
	var values []map[string][]float64
	for i := range int32(s.Len()) {
		if s.Cat[i] != trace.CatProfilerRange || !f.counts(i) {
			continue
		}
		r, ok := at[s.Name[i]]
		if !ok {
			r = len(out.Rows)
			at[s.Name[i]] = r
			out.Rows = append(out.Rows, CounterRow{Name: f.name(i), First: int(i)})
			values = append(values, map[string][]float64{})
		}
		out.Rows[r].Count++
		out.Rows[r].Ns += f.dur[i]
		var args map[string]any
		if json.Unmarshal(f.tr.Args(s.Args[i]), &args) != nil {
			continue
		}
		for k, v := range args {
			if x, ok := v.(float64); ok {
				values[r][k] = append(values[r][k], x)
			}
		}
	}
	for r := range out.Rows {
		for _, k := range sortedKeys(values[r]) {
			out.Rows[r].Metrics = append(out.Rows[r].Metrics, MetricStats{k, describe(values[r][k])})
		}
	}
	sortDesc(out.Rows, func(r *CounterRow) int64 { return int64(r.Count) })
	return out
}
