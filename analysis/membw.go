package analysis

import (
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// argBandwidth is Kineto's own figure for a copy, in GB/s.
const argBandwidth = "memory bandwidth (GB/s)"

// MemoryBandwidth is how fast a rank's copies and fills ran.
type MemoryBandwidth struct {
	Rank       int              `json:"rank"`
	Directions []DirectionUsage `json:"directions"` // by name
}

// DirectionUsage is one direction of copying, or Memset.
type DirectionUsage struct {
	Name    string   `json:"name"` // "Memcpy HtoD", "Memset" …
	Count   int      `json:"count"`
	Bytes   int64    `json:"bytes"`    // known sizes only
	BusyNs  int64    `json:"busy_ns"`  // summed durations
	MeanGBs float64  `json:"mean_gbs"` // Bytes over BusyNs; 0 if no sizes are known
	Series  []Point  `json:"-"`        // GB/s summed over copies under way
	ByTime  Weighted `json:"by_time"`  // GB/s
	// Points describes the rate after every change as long as it is above 0; HTA's
	// summary. Rates that rounding leaves behind do not count, as they do there.
	Points Stats `json:"points"`
}

// Bandwidth answers how fast memory was copied and filled over time.
func Bandwidth(tr *trace.Trace, opt Options) MemoryBandwidth { return newFrame(tr, opt).bandwidth() }

func (f *frame) bandwidth() MemoryBandwidth {
	out := MemoryBandwidth{Rank: f.rank}
	steps := map[string][]step{}
	usage := map[string]*DirectionUsage{}
	for j, i := range f.dev {
		if f.kinds[j] != KindMemory {
			continue
		}
		name := direction(f.name(i))
		u := usage[name]
		if u == nil {
			u = &DirectionUsage{Name: name}
			usage[name] = u
		}
		u.Count++
		u.BusyNs += f.dur[i]
		bytes, _ := f.tr.ArgSize(int(i), trace.ArgBytes)
		bw, known := f.tr.ArgFloat(int(i), argBandwidth)
		known = known && bw-bw == 0 // the writer puts inf where it cannot divide
		known = known && (bw >= 0 || f.rules.FilesBandwidth)
		if !f.rules.FilesBandwidth && f.dur[i] > 0 && bytes > 0 {
			bw, known = float64(bytes)/float64(f.dur[i]), true // bytes per ns are GB/s
		}
		u.Bytes += bytes
		if !known {
			continue
		}
		end := f.end(i)
		if f.dur[i] == 0 {
			end += 1000 // a copy shorter than the clock's tick took at most one
			if !f.rules.FilesBandwidth {
				continue
			}
		}
		steps[name] = append(steps[name], step{f.start[i], bw, 0, i}, step{end, -bw, 1, i})
	}
	for _, name := range sortedKeys(usage) {
		u := usage[name]
		if u.BusyNs > 0 {
			u.MeanGBs = float64(u.Bytes) / float64(u.BusyNs)
		}
		s := steps[name]
		sortSteps(s)
		u.Series = accumulate(s)
		u.ByTime = weigh(u.Series)
		u.Points = f.bandwidthPoints(s)
		out.Directions = append(out.Directions, *u)
	}
	return out
}

// bandwidthPoints describes the running sum over every change. With HTA rounding
// residue counts as there, so the result depends on the order of equal times.
func (f *frame) bandwidthPoints(s []step) Stats {
	var vals []float64
	sum, open := 0.0, 0
	for _, st := range s {
		sum += st.delta
		if st.order == 0 {
			open++
		} else {
			open--
		}
		if !f.rules.FilesBandwidth && open == 0 {
			sum = 0
		}
		if sum > 0 {
			vals = append(vals, sum)
		}
	}
	return describe(vals)
}

// direction shortens "Memcpy HtoD (Pinned -> Device)" to "Memcpy HtoD".
func direction(name string) string {
	if strings.HasPrefix(name, "Memset") {
		return "Memset"
	}
	if way, ok := strings.CutPrefix(name, "Copy"); ok { // "CopyDeviceToHost", as roctracer has it
		from, to, ok := strings.Cut(way, "To")
		if ok && from != "" && to != "" {
			return "Memcpy " + from[:1] + "to" + to[:1]
		}
	}
	if len(name) > 11 {
		return name[:11]
	}
	return name
}
