package analysis

import (
	"github.com/kinetoscope/kinetoscope/trace"
)

// Limits of launch statistics, HTA's defaults.
const (
	RuntimeOutlierNs     = 50_000  // a launch call longer than this is an outlier
	LaunchDelayOutlierNs = 100_000 // a delay longer than this is an outlier
)

// LaunchStats is what launching cost a rank.
type LaunchStats struct {
	Rank            int      `json:"rank"`
	Launches        []Launch `json:"-"`     // one a device slice whose launch call is known, in file order
	Count           int      `json:"count"` // len(Launches)
	CPU             Stats    `json:"cpu_ns"`
	GPU             Stats    `json:"gpu_ns"`
	Delay           Stats    `json:"delay_ns"`
	Short           int      `json:"short_kernels"`         // call at most 50 us and device work shorter than its call
	RuntimeOutliers int      `json:"runtime_outliers"`      // call longer than 50 us
	DelayOutliers   int      `json:"launch_delay_outliers"` // delay longer than 100 us
	Unlinked        int      `json:"unlinked"`              // device slices without a launch call in the trace
	// calls whose correlation an earlier one has; slices go to the last call before them
	Ambiguous     int      `json:"ambiguous"`
	GraphLaunches int      `json:"graph_launches"` // calls that launched more than one device slice
	Types         []ByCall `json:"calls"`          // by name of the call, most device work first
}

// Launch is a launch call and one device slice that it started. A graph launch gives
// as many rows as slices.
type Launch struct {
	Host, Device int   // slices
	CPUNs, GPUNs int64 // their durations
	DelayNs      int64 // from the call's end to the slice's start, at least 0
}

// ByCall counts what one runtime function launched.
type ByCall struct {
	Name   string `json:"name"`
	Calls  int    `json:"calls"`
	Slices int    `json:"slices"`
	CPUNs  int64  `json:"cpu_ns"` // summed durations of the calls
}

// LaunchOptions choose launches.
type LaunchOptions struct {
	NoMemory bool // leave out copies and fills
}

// Launches answers what launching device work cost.
func Launches(tr *trace.Trace, opt Options, lo LaunchOptions) LaunchStats {
	return newFrame(tr, opt).launches(lo)
}

func (f *frame) launches(lo LaunchOptions) LaunchStats {
	out := LaunchStats{Rank: f.rank, Ambiguous: f.ambiguous}
	if f.several() {
		return out
	}
	if f.rules.KnownCallsOnly {
		for _, p := range f.rows.Launches(lo.NoMemory) {
			out.Launches = append(out.Launches, f.launch(p.Host, p.Device))
		}
	} else {
		out.Launches = make([]Launch, 0, len(f.dev))
		for j, d := range f.dev {
			if lo.NoMemory && f.kinds[j] == KindMemory {
				continue
			}
			if f.partner[d] < 0 {
				out.Unlinked++
				continue
			}
			out.Launches = append(out.Launches, f.launch(f.partner[d], d))
		}
		f.launchTypes(&out)
	}
	cpu, gpu, delay := make([]float64, 0, len(out.Launches)), make([]float64, 0, len(out.Launches)), make([]float64, 0,
		len(out.Launches))
	for _, l := range out.Launches {
		cpu, gpu, delay = append(cpu, float64(l.CPUNs)), append(gpu, float64(l.GPUNs)), append(delay,
			float64(l.DelayNs))
		if l.CPUNs <= RuntimeOutlierNs && l.GPUNs < l.CPUNs {
			out.Short++
		}
		if l.CPUNs > RuntimeOutlierNs {
			out.RuntimeOutliers++
		}
		if l.DelayNs > LaunchDelayOutlierNs {
			out.DelayOutliers++
		}
	}
	out.Count, out.CPU, out.GPU, out.Delay = len(out.Launches), describe(cpu), describe(gpu), describe(delay)
	return out
}

func (f *frame) launch(host, dev int32) Launch {
	return Launch{Host: int(host), Device: int(dev), CPUNs: f.dur[host], GPUNs: f.dur[dev],
		DelayNs: max(0, f.start[dev]-f.end(host))}
}

func (f *frame) launchTypes(out *LaunchStats) {
	work := make([]int32, f.tr.Slices.Len())    // by call: slices that it launched
	byName := make([]int32, f.tr.Strings.Len()) // place among the types +1
	for _, l := range out.Launches {
		name := f.tr.Slices.Name[l.Host]
		if byName[name] == 0 {
			out.Types = append(out.Types, ByCall{Name: f.name(int32(l.Host))})
			byName[name] = int32(len(out.Types))
		}
		t := &out.Types[byName[name]-1]
		t.Slices++
		switch work[l.Host]++; work[l.Host] {
		case 1:
			t.Calls++
			t.CPUNs += l.CPUNs
		case 2:
			out.GraphLaunches++
		}
	}
	sortDesc(out.Types, func(c *ByCall) int64 { return int64(c.Slices) })
}
