package pipeline

import "github.com/kinetoscope/kinetoscope/trace"

// metrics sums up the counters of t that its server told, in the order in which they first come. Each
// lies within the rank's window or beside it: a server is asked as long as the session goes on.
func metrics(t *trace.Trace) (out []Metric) {
	at := map[trace.StringID]int{}
	c := &t.Counters
	for i, v := range c.Value {
		if t.Tracks[c.Track[i]].Name != trace.TrackServer || v != v {
			continue
		}
		k, ok := at[c.Name[i]]
		if !ok {
			k = len(out)
			at[c.Name[i]] = k
			out = append(out, Metric{Name: t.String(c.Name[i]), Min: v, Max: v})
		}
		m := &out[k]
		m.Samples++
		m.Min, m.Max, m.Last = min(m.Min, v), max(m.Max, v), v
		m.Mean += (v - m.Mean) / float64(m.Samples)
	}
	return out
}
