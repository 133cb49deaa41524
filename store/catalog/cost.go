package catalog

import (
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// costRuns is how many of the newest runs an estimate uses; older ones would be of another load.
const costRuns = 5

// StageAsk is a stage of a planned session.
type StageAsk struct {
	Name          string
	Ranks         int
	MaxIterations int // 0: no bound
}

// Ask is a planned session.
type Ask struct {
	Stages   []StageAsk
	Duration time.Duration // after which it ends by itself
	MaxBytes int64         // of a rank; 0: no bound
}

// Cost is what a session is expected to take, extrapolated from earlier runs under the load that
// they had. It is an upper bound, since a stop may end the session earlier.
type Cost struct {
	RecordedBytes int64   `json:"recorded_bytes"`
	RunBytes      int64   `json:"run_bytes"` // of the run with the files converted from its recordings
	RecordS       float64 `json:"record_s"`
	FinishS       float64 `json:"finish_s"` // from the stop to the finished run
	BytesPerS     float64 `json:"bytes_per_s"`
	// LowBytes and HighBytes are RecordedBytes by the rate of the cheapest and of the dearest run of
	// every stage. They are equal if there is one run.
	LowBytes  int64 `json:"low_bytes"`
	HighBytes int64 `json:"high_bytes"`
	// LongestS is how long the longest of the runs recorded. Beyond it nothing was measured, and the
	// estimate is extrapolated.
	LongestS float64   `json:"longest_s"`
	Runs     []string  `json:"runs"` // ids of the runs that the estimate uses, newest first
	Last     time.Time `json:"last,omitzero"`
	Unknown  []string  `json:"unknown"` // stages without an earlier run; the sums leave them out
}

// Cost estimates a session by the newest whole runs of the store.
func (c *Catalog) Cost(ask Ask) (Cost, error) {
	all, err := c.All()
	if err != nil {
		return Cost{}, err
	}
	var past []*session.Status
	for _, it := range all {
		if it.Upload != nil || it.Health == HealthBroken || it.RecordedNs == 0 || len(past) == costRuns {
			continue
		}
		if !slices.ContainsFunc(ask.Stages, func(s StageAsk) bool { return slices.Contains(it.Stages, s.Name) }) {
			continue
		}
		m, err := manifestOf(filepath.Join(c.Root(), it.Name))
		if err != nil {
			continue // it was deleted just now
		}
		past = append(past, &m.Session)
	}
	return estimate(past, ask), nil
}

// rate is what the ranks of a stage took in past sessions, summed up.
type rate struct {
	bytes, seconds, iterations float64
}

func (r *rate) add(k *protocol.RankStatus) {
	r.bytes += float64(k.Bytes)
	r.seconds += time.Duration(k.StoppedAtNs - k.StartedAtNs).Seconds()
	r.iterations += float64(k.Iterations)
}

// rates are what stages took by name: in all past sessions, and in each of them.
type rates struct {
	all  map[string]*rate
	each []map[string]*rate
}

func rateOf(of map[string]*rate, stage string) *rate {
	if of[stage] == nil {
		of[stage] = &rate{}
	}
	return of[stage]
}

// spread is what the cheapest and the dearest of the sessions say a stage takes.
func (r *rates) spread(st StageAsk, ask Ask) (low, high float64) {
	low = math.Inf(1)
	for _, of := range r.each {
		if b, _, known := st.cost(of[st.Name], ask); known {
			low, high = min(low, b), max(high, b)
		}
	}
	return low, high
}

// estimate is the pure part of Cost.
func estimate(past []*session.Status, ask Ask) Cost {
	out := Cost{Runs: []string{}, Unknown: []string{}}
	known := rates{all: map[string]*rate{}}
	var recorded, made, finish float64
	for _, s := range past {
		out.Runs = append(out.Runs, s.ID)
		if s.StartedAt.After(out.Last) {
			out.Last = s.StartedAt
		}
		var bytes float64
		var stopped int64
		mine := map[string]*rate{}
		for _, st := range s.Stages {
			for _, k := range st.Ranks {
				if k.State != protocol.StateComplete || k.StoppedAtNs <= k.StartedAtNs || k.Bytes == 0 {
					continue
				}
				rateOf(known.all, st.Name).add(&k)
				rateOf(mine, st.Name).add(&k)
				out.LongestS = max(out.LongestS, time.Duration(k.StoppedAtNs-k.StartedAtNs).Seconds())
				bytes += float64(k.Bytes)
				stopped = max(stopped, k.StoppedAtNs+k.Clock.OffsetNs)
			}
		}
		known.each = append(known.each, mine)
		if bytes == 0 || stopped == 0 || s.FinishedAt.IsZero() {
			continue
		}
		recorded += bytes
		for _, a := range store.AllArtifacts(s) {
			made += float64(a.Size)
		}
		finish += max(0, s.FinishedAt.Sub(time.Unix(0, stopped)).Seconds())
	}
	var bytes, low, high float64
	for _, st := range ask.Stages {
		r := known.all[st.Name]
		b, seconds, ok := st.cost(r, ask)
		if !ok {
			out.Unknown = append(out.Unknown, st.Name)
			continue
		}
		bytes += b
		l, h := known.spread(st, ask)
		low, high = low+l, high+h
		out.RecordS = max(out.RecordS, seconds)
		out.BytesPerS += r.bytes / r.seconds * float64(st.Ranks)
	}
	out.RecordedBytes, out.LowBytes, out.HighBytes = int64(bytes), int64(low), int64(high)
	if recorded > 0 {
		out.RunBytes, out.FinishS = int64(bytes*made/recorded), bytes*finish/recorded
	}
	return out
}

// cost is what one stage takes, until the first of its bounds.
func (s StageAsk) cost(r *rate, ask Ask) (bytes, seconds float64, known bool) {
	if r == nil || r.seconds <= 0 {
		return 0, 0, false
	}
	seconds = ask.Duration.Seconds()
	if s.MaxIterations > 0 && r.iterations > 0 {
		seconds = min(seconds, float64(s.MaxIterations)*r.seconds/r.iterations)
	}
	bytes = seconds * r.bytes / r.seconds
	if most := float64(ask.MaxBytes); most > 0 && bytes > most {
		seconds *= most / bytes
		bytes = most
	}
	return bytes * float64(s.Ranks), seconds, true
}
