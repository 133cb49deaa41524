package align

import (
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
	// maxParts bounds the parts of ranks in collectives that are looked at together: of more,
	// as many collectives are left out as make them fit. A gigabyte holds so many.
	maxParts = 1 << 24
	// madToSigma makes a median absolute deviation of normal noise its deviation.
	madToSigma = 1.4826
)

// Rank describes one rank's clock.
type Rank struct {
	Host  string // ranks of equal host share a clock; "" shares with none
	Scope string // names of process groups hold within it, "stage0/replica1" say
	Clock protocol.ClockError
	// ProbedNs is when Clock was measured, rank's time; 0: at the first collective.
	// Where a clock drifts, its offset holds there.
	ProbedNs int64
	// Collectives are those of the rank's trace in order of their end, without what the
	// end of the recording cut off.
	Collectives []Collective
	// HandOffs are the ends that the rank's trace has of what ranks send to each other.
	HandOffs []HandOff
}

// Clock maps a rank's time to the hub's.
type Clock struct {
	OffsetNs int64   // at RefNs: hub = rank + OffsetNs
	Drift    float64 // added to the offset per ns after RefNs
	RefNs    int64   // rank's time
	ErrorNs  int64   // bound of the error against the hub's clock
	// RelativeNs bounds the error against the ranks that collectives tie it to, on other
	// hosts; 0 if there are none. Ranks that share a clock have no error between them.
	RelativeNs  int64
	Matched     int  // collectives with ranks on other clocks that were used
	Contradicts bool // collectives or hand-offs cannot be reconciled with the probes
	// HandOffs counts the hand-offs to and from ranks on other clocks that no collective ties it
	// to. HandOffNs bounds the error against those ranks with which they went both ways; 0 if
	// there are none: then the times between them are known as well as ErrorNs says.
	HandOffs  int
	HandOffNs int64
	Residuals // what collectives and hand-offs still differ by
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
	events := match(ranks)
	sent := messages(ranks)
	unit := shareHosts(ranks, clocks, events, sent)
	probed := slices.Clone(clocks)
	parts := components(ranks, unit, events)
	for _, c := range parts {
		c.refine(clocks)
		c.bound(clocks)
		c.anchor(clocks, probed)
	}
	newBodies(unit, parts).refine(sent, clocks)
	residuals(events, clocks)
	arrivals(sent, clocks)
	return clocks
}

// shareHosts gives the ranks of a host the intersection of their probes and one
// reference. It returns for each rank the unit it moves with: the first rank that
// shares its clock.
func shareHosts(ranks []Rank, clocks []Clock, events []event, sent []message) (unit []int) {
	unit = make([]int, len(ranks))
	host, number := make([]int, len(ranks)), map[string]int{}
	var hosts [][]int // members by number, in order
	for i, r := range ranks {
		unit[i], host[i] = i, -1
		if r.Host == "" {
			continue
		}
		n, ok := number[r.Host]
		if !ok {
			n = len(hosts)
			number[r.Host] = n
			hosts = append(hosts, nil)
		}
		host[i] = n
		hosts[n] = append(hosts[n], i)
	}
	one := sameClocks(host, len(hosts), events, sent, clocks)
	for n, members := range hosts {
		if len(members) < 2 || !one[n] {
			continue
		}
		lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
		for _, i := range members {
			lo = max(lo, clocks[i].OffsetNs-clocks[i].ErrorNs)
			hi = min(hi, clocks[i].OffsetNs+clocks[i].ErrorNs)
		}
		if lo > hi {
			continue // they do not read one clock after all
		}
		for _, i := range members {
			unit[i] = members[0]
			clocks[i].OffsetNs = lo + (hi-lo)/2
			clocks[i].ErrorNs = (hi - lo + 1) / 2
			clocks[i].RefNs = clocks[members[0]].RefNs
		}
	}
	return unit
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
	if !contradicts {
		c.clamp(clocks, probed)
	}
}

// clamp limits every clock to the bounds of its own probe: with few collectives, or with late
// ranks, alignment can be less exact than a good probe.
func (c *component) clamp(clocks, probed []Clock) {
	moved := int64(0)
	for _, r := range c.ranks {
		k, p := &clocks[r], probed[r]
		lo := max(k.OffsetNs-k.ErrorNs, p.OffsetNs-p.ErrorNs)
		hi := min(k.OffsetNs+k.ErrorNs, p.OffsetNs+p.ErrorNs)
		if lo > hi {
			continue
		}
		was := k.OffsetNs
		k.OffsetNs = min(max(was, lo), hi)
		k.ErrorNs = max(k.OffsetNs-lo, hi-k.OffsetNs)
		moved = max(moved, abs(k.OffsetNs-was))
	}
	errs := make([]int64, len(c.units))
	for i, u := range c.units {
		errs[i] = clocks[u.ranks[0]].ErrorNs
	}
	most := exceptOne(errs)
	for i, u := range c.units {
		for _, r := range u.ranks {
			k := &clocks[r]
			k.RelativeNs += 2 * moved
			if k.Drift == 0 {
				k.RelativeNs = min(k.RelativeNs, k.ErrorNs+most(i))
			}
		}
	}
}

// match finds the ranks' parts in the same collectives. One rank has none in common with others.
func match(ranks []Rank) []event {
	if len(ranks) < 2 {
		return nil
	}
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
	return events
}

// median returns the middle of v; 0 if v is empty. It runs for every collective of every rank,
// so that it parts v as far as it must and sorts nothing.
func median(v []float64) float64 {
	n := len(v)
	if n == 0 {
		return 0
	}
	s := slices.Clone(v)
	upper := nth(s, n/2)
	if n%2 == 1 {
		return upper
	}
	return (slices.Max(s[:n/2]) + upper) / 2 // what is before the place is no larger
}

// nth puts the element into place k that would stand there if s were sorted, with none before it
// that is larger, and returns it.
func nth(s []float64, k int) float64 {
	for lo, hi := 0, len(s)-1; lo < hi; {
		pivot := s[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for s[i] < pivot {
				i++
			}
			for s[j] > pivot {
				j--
			}
			if i <= j {
				s[i], s[j] = s[j], s[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case k <= j:
			hi = j
		case k >= i:
			lo = i
		default:
			return s[k]
		}
	}
	return s[k]
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
