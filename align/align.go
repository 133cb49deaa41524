package align

import (
	"cmp"
	"math"
	"slices"

	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// UnprobedNs is the error of a rank that was never probed. Hosts kept by NTP are
	// within it; it is large enough to be noticed where it is stated.
	UnprobedNs = int64(1e9)
	// maxRounds bounds the iteration over process groups that overlap; ranks in one
	// group need one round.
	maxRounds = 20
	// minDriftSamples and minDriftSpanNs are what a line needs to mean more than a
	// constant: crystals differ by some 10 ppm, 10 µs over a second.
	minDriftSamples = 16
	minDriftSpanNs  = int64(1e9)
	// maxSlopePoints bounds the pairs of Theil and Sen's method.
	maxSlopePoints = 256
	// madToSigma makes a median absolute deviation of normal noise its deviation.
	madToSigma = 1.4826
)

// Rank is what is known of one rank's clock.
type Rank struct {
	Host  string // ranks of equal host share a clock; "" shares with none
	Scope string // names of process groups hold within it, "stage0/replica1" say
	Clock protocol.ClockError
	// ProbedNs is when Clock was measured, rank's time; 0: at the first collective.
	// Where a clock drifts, its offset holds there.
	ProbedNs int64
	// Collectives are those of the rank's trace; see func Collectives.
	Collectives []Collective
}

// Clock maps a rank's time to the hub's.
type Clock struct {
	OffsetNs    int64   // at RefNs: hub = rank + OffsetNs
	Drift       float64 // added to the offset per ns after RefNs
	RefNs       int64   // rank's time
	ErrorNs     int64   // bound of the error against the hub's clock
	RelativeNs  int64   // bound of the error against ranks with common collectives; 0 if none
	Matched     int     // collectives used
	Contradicts bool    // the collectives cannot be reconciled with the probes
}

// Map returns rank time ns on the hub's clock.
func (c Clock) Map(ns int64) int64 {
	if c.Drift == 0 {
		return ns + c.OffsetNs
	}
	return ns + c.OffsetNs + int64(math.Round(c.Drift*float64(ns-c.RefNs)))
}

// Align estimates the clock of every rank; the result has the order of ranks.
func Align(ranks []Rank) []Clock {
	clocks := make([]Clock, len(ranks))
	for i, r := range ranks {
		clocks[i] = Clock{OffsetNs: r.Clock.OffsetNs, ErrorNs: max(0, r.Clock.ErrorNs)}
		if r.Clock == (protocol.ClockError{}) {
			clocks[i].ErrorNs = UnprobedNs
		}
		if clocks[i].RefNs = r.ProbedNs; r.ProbedNs == 0 && len(r.Collectives) > 0 {
			clocks[i].RefNs = r.Collectives[0].Start
		}
	}
	shareHosts(ranks, clocks)
	probed := slices.Clone(clocks)
	for _, c := range components(ranks) {
		c.refine(clocks)
		c.bound(clocks)
		c.anchor(clocks, probed)
	}
	return clocks
}

// shareHosts gives the ranks of a host the intersection of their probes.
func shareHosts(ranks []Rank, clocks []Clock) {
	hosts := map[string][]int{}
	for i, r := range ranks {
		if r.Host != "" {
			hosts[r.Host] = append(hosts[r.Host], i)
		}
	}
	for _, members := range hosts {
		lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
		for _, i := range members {
			lo = max(lo, clocks[i].OffsetNs-clocks[i].ErrorNs)
			hi = min(hi, clocks[i].OffsetNs+clocks[i].ErrorNs)
		}
		if lo > hi {
			continue // they do not read one clock after all
		}
		for _, i := range members {
			clocks[i].OffsetNs = lo + (hi-lo)/2
			clocks[i].ErrorNs = (hi - lo + 1) / 2
		}
	}
}

// component is a set of ranks that have collectives with each other, and these.
type component struct {
	ranks  []int
	events []event
}

// event is one collective: who was in it, when they came and left.
type event struct {
	rank       []int
	start, end []int64 // rank's clock
}

// refine moves the ranks against each other until the ends of the collectives agree.
func (c *component) refine(clocks []Clock) {
	for range maxRounds {
		moved := int64(0)
		for _, r := range c.ranks {
			at, dev := c.deviations(r, clocks)
			if len(dev) == 0 {
				continue
			}
			clocks[r].Matched = len(dev)
			slope := drift(at, dev)
			clocks[r].Drift -= slope
			for i := range dev {
				dev[i] -= slope * float64(at[i]-clocks[r].RefNs)
			}
			step := int64(math.Round(median(dev)))
			clocks[r].OffsetNs -= step
			moved = max(moved, abs(step), int64(math.Abs(slope)*float64(at[len(at)-1]-at[0])))
		}
		if moved <= 1 {
			return
		}
	}
}

// deviations returns, for each collective of rank r in order of time, its end on r's
// clock and how much later than the median of the other ranks it lies on the hub's.
func (c *component) deviations(r int, clocks []Clock) (at []int64, dev []float64) {
	var others []float64
	for _, e := range c.events {
		own := slices.Index(e.rank, r)
		if own < 0 {
			continue
		}
		mapped := clocks[r].Map(e.end[own])
		others = others[:0]
		for k, s := range e.rank {
			if s != r {
				others = append(others, float64(clocks[s].Map(e.end[k])-mapped))
			}
		}
		at = append(at, e.end[own])
		dev = append(dev, -median(others))
	}
	return at, dev
}

// drift returns the slope of dev over at, 0 unless it stands out of the noise.
func drift(at []int64, dev []float64) float64 {
	n := len(at)
	if n < minDriftSamples || at[n-1]-at[0] < minDriftSpanNs {
		return 0
	}
	stride := max(1, n/maxSlopePoints)
	var slopes []float64
	for i := 0; i < n; i += stride {
		for k := i + stride; k < n; k += stride {
			if at[k] > at[i] {
				slopes = append(slopes, (dev[k]-dev[i])/float64(at[k]-at[i]))
			}
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	slope := median(slopes)
	rest := make([]float64, n)
	for i := range dev {
		rest[i] = dev[i] - slope*float64(at[i]-at[0])
	}
	if math.Abs(slope)*float64(at[n-1]-at[0]) < 2*spread(rest) {
		return 0
	}
	return slope
}

// bound sets RelativeNs: how far a rank can be moved against the others before it
// leaves a collective that another has not entered, and no less than the noise.
func (c *component) bound(clocks []Clock) {
	for _, r := range c.ranks {
		_, dev := c.deviations(r, clocks)
		if len(dev) == 0 {
			continue
		}
		noise := 3 * spread(dev) / math.Sqrt(float64(len(dev)))
		early, late := int64(math.MaxInt64), int64(math.MaxInt64)
		for _, e := range c.events {
			own := slices.Index(e.rank, r)
			if own < 0 {
				continue
			}
			enter, leave := clocks[r].Map(e.start[own]), clocks[r].Map(e.end[own])
			for k, s := range e.rank {
				if s != r {
					early = min(early, leave-clocks[s].Map(e.start[k]))
					late = min(late, clocks[s].Map(e.end[k])-enter)
				}
			}
		}
		clocks[r].RelativeNs = max(1, int64(math.Ceil(noise)), early, late)
	}
}

// anchor moves all ranks of c by the same amount to where their probes agree.
func (c *component) anchor(clocks, probed []Clock) {
	lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
	sum, weight := 0.0, 0.0
	for _, r := range c.ranks {
		d := probed[r].OffsetNs - clocks[r].OffsetNs
		slack := probed[r].ErrorNs + clocks[r].RelativeNs
		lo, hi = max(lo, d-slack), min(hi, d+slack)
		w := 1 / math.Pow(float64(max(1, probed[r].ErrorNs)), 2)
		sum, weight = sum+w*float64(d), weight+w
	}
	shift, errNs, contradicts := lo+(hi-lo)/2, (hi-lo+1)/2, lo > hi
	if contradicts {
		shift, errNs = int64(sum/weight), 0
		for _, r := range c.ranks {
			errNs = max(errNs, abs(probed[r].OffsetNs-clocks[r].OffsetNs-shift)+probed[r].ErrorNs)
		}
	}
	for _, r := range c.ranks {
		clocks[r].OffsetNs += shift
		clocks[r].ErrorNs = errNs + clocks[r].RelativeNs
		clocks[r].Contradicts = contradicts
	}
}

// components matches the collectives and returns the ranks that these connect.
// Collectives that only one rank recorded tell nothing and are left out.
func components(ranks []Rank) []component {
	type key struct {
		scope, group, name string
		seq                int64
	}
	at := map[key]int{}
	var events []event
	for i, r := range ranks {
		for _, c := range r.Collectives {
			k := key{r.Scope, c.Group, c.Name, c.Seq}
			n, ok := at[k]
			if !ok {
				n = len(events)
				at[k] = n
				events = append(events, event{})
			}
			e := &events[n]
			if m := len(e.rank); m > 0 && e.rank[m-1] == i { // nested slices of one collective
				e.start[m-1], e.end[m-1] = min(e.start[m-1], c.Start), max(e.end[m-1], c.End)
				continue
			}
			e.rank, e.start, e.end = append(e.rank, i), append(e.start, c.Start), append(e.end, c.End)
		}
	}
	root := make([]int, len(ranks))
	for i := range root {
		root[i] = i
	}
	find := func(i int) int {
		for root[i] != i {
			root[i] = root[root[i]]
			i = root[i]
		}
		return i
	}
	for _, e := range events {
		for _, r := range e.rank[1:] {
			root[find(r)] = find(e.rank[0])
		}
	}
	byRoot := map[int]*component{}
	var out []*component
	for i := range ranks {
		c := byRoot[find(i)]
		if c == nil {
			c = &component{}
			byRoot[find(i)] = c
			out = append(out, c)
		}
		c.ranks = append(c.ranks, i)
	}
	for _, e := range events {
		if len(e.rank) > 1 {
			c := byRoot[find(e.rank[0])]
			c.events = append(c.events, e)
		}
	}
	var result []component
	for _, c := range out {
		if len(c.events) > 0 {
			slices.SortStableFunc(c.events, func(a, b event) int { return cmp.Compare(a.end[0], b.end[0]) })
			result = append(result, *c)
		}
	}
	return result
}

// median returns the middle of v, which it sorts; 0 if v is empty.
func median(v []float64) float64 {
	n := len(v)
	if n == 0 {
		return 0
	}
	s := slices.Clone(v)
	slices.Sort(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// spread returns the deviation of v by its median absolute deviation.
func spread(v []float64) float64 {
	m := median(v)
	d := make([]float64, len(v))
	for i := range v {
		d[i] = math.Abs(v[i] - m)
	}
	return madToSigma * median(d)
}

func abs(v int64) int64 { return max(v, -v) }
