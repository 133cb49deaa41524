package rocprof

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// FormatChrome is Meta.Format of the Chrome JSON that rocprof wrote before rocprofv3 (--hip-trace,
// --sys-trace).
const FormatChrome = "rocprof-chrome"

// The arrows from a call to the work that it launched, and an argument that every row of rocprof has.
const (
	catDataFlow = "DataFlow"
	argBegin    = "BeginNs"
)

// card is the process of a card's kernels; its threads are queues.
var card = regexp.MustCompile(`^GPU(\d+)$`)

// chromeHosts are the categories of the other processes of the file.
var chromeHosts = map[string]trace.Category{
	"CPU HIP API": trace.CatCUDARuntime, "CPU HSA API": trace.CatCUDADriver, "CPU KFD API": trace.CatCPUOp,
	"Markers and Ranges": trace.CatUserAnnotation, "ROCTX": trace.CatUserAnnotation,
}

// copies is the process of what the engines for copies did.
const copies = "COPY"

// IsChrome reports whether t, read from Chrome JSON, is of rocprof: processes are named as it names
// them, and rows have its arguments.
func IsChrome(t *trace.Trace) bool {
	known := make([]bool, len(t.Tracks))
	found := false
	for i := range t.Tracks {
		_, host := chromeHosts[t.Tracks[i].Process]
		known[i] = host || card.MatchString(t.Tracks[i].Process)
		found = found || known[i]
	}
	if !found {
		return false
	}
	for i, id := range t.Slices.Track {
		if known[id] {
			return t.Arg(i, argBegin) != nil
		}
	}
	return false
}

// ClassifyChrome gives the slices of t their categories, lanes and correlations.
func ClassifyChrome(t *trace.Trace) {
	delete(t.Repairs.Count, trace.RepairTextTime) // text is how rocprof writes times
	first := int64(-1)
	for i := range t.Tracks {
		if f := card.FindStringSubmatch(t.Tracks[i].Process); f != nil {
			n, _ := strconv.ParseInt(f[1], 10, 64) // the pattern has digits
			if first < 0 || n < first {
				first = n
			}
		}
	}
	cats := make([]trace.Category, len(t.Tracks))
	for i := range t.Tracks {
		k := &t.Tracks[i]
		f := card.FindStringSubmatch(k.Process)
		switch host, ok := chromeHosts[k.Process]; {
		case f != nil:
			k.Kind, k.Stream = trace.TrackGPU, k.TID
			k.Device, _ = strconv.ParseInt(f[1], 10, 64)
			cats[i] = trace.CatKernel
		case k.Process == copies:
			// The engines of all cards stand in one process; they are no queue of any.
			k.Kind, k.Device, k.Stream = trace.TrackGPU, max(0, first), -1-k.TID
			cats[i] = trace.CatGPUMemcpy
		case ok:
			k.Kind, cats[i] = trace.TrackCPU, host
		default:
			cats[i] = trace.CatCPUOp
		}
	}
	s := &t.Slices
	for i, id := range s.Track {
		s.Cat[i] = cats[id]
		name := strings.ToLower(t.String(s.Name[i]))
		if cats[id] == trace.CatGPUMemcpy && (strings.Contains(name, "memset") || strings.Contains(name, "fill")) {
			s.Cat[i] = trace.CatGPUMemset
		}
	}
	linkChrome(t)
}

// linkChrome gives a call and the work that an arrow leads to from it one correlation.
func linkChrome(t *trace.Trace) {
	cat, ok := t.Strings.Lookup(catDataFlow)
	if !ok {
		return
	}
	s, f := &t.Slices, &t.Flows
	rows := map[trace.TrackID][]int{}
	for i, id := range s.Track {
		rows[id] = append(rows[id], i)
	}
	for _, list := range rows {
		slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(s.Start[a], s.Start[b]) })
	}
	// last is the last row of a track that began at or before at and had not ended; -1 if none did.
	last := func(id trace.TrackID, at int64) int {
		list := rows[id]
		k, _ := slices.BinarySearchFunc(list, at+1, func(i int, at int64) int { return cmp.Compare(s.Start[i], at) })
		if k > 0 && s.End(list[k-1]) >= at {
			return list[k-1]
		}
		return -1
	}
	calls := map[uint64]int{}
	for i, start := range f.Start {
		if c := last(f.Track[i], f.Time[i]); start && f.Cat[i] == cat && c >= 0 {
			calls[f.ID[i]] = c
		}
	}
	for i, start := range f.Start {
		c, ok := calls[f.ID[i]]
		if start || f.Cat[i] != cat || !ok {
			continue
		}
		if w := last(f.Track[i], f.Time[i]); w >= 0 && t.Tracks[s.Track[w]].Kind == trace.TrackGPU {
			s.Corr[c] = int64(c) + 1
			s.Corr[w] = int64(c) + 1
		}
	}
}
