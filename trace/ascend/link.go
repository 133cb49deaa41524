package ascend

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Categories of the arrows that end at the beginning of a hardware row.
const (
	catFromOperator = "async_npu"    // from inside the operator that enqueued it
	catFromCANN     = "HostToDevice" // from inside the CANN call that sent it
	// from the row of an operator that put a task into the queue to the row in which another thread took it
	catFromQueue = "async_task_queue"
)

// enqueue is the name of the slices that link adds where arrows from operators begin: the moment at
// which the operator handed the work to the queue of CANN's thread. Torch_npu gives the arrows this
// name.
const enqueue = "torch_to_npu"

// firstLink is the least correlation that link gives; connection ids have 32 bits.
const firstLink = int64(1) << 40

// place is where an arrow ends.
type place struct {
	track trace.TrackID
	at    int64
}

// link joins hardware rows with the calls that launched them by the file's arrows, because the
// connection_id of a hardware row is often on no host row. An arrow from an operator is preferred:
// the operator runs on another thread than CANN's call, and nothing else tells which operator the
// work belongs to. link adds a slice without duration where that arrow begins, as the launch.
// Without such an arrow it is the one that ran on the thread of the CANN call in which the other arrow
// begins, or that put into the queue what this thread took; else that call is the launch.
func link(t *trace.Trace) {
	fromOp, fromCANN := ends(t, catFromOperator), ends(t, catFromCANN)
	if len(fromOp)+len(fromCANN) == 0 {
		return
	}
	s := &t.Slices
	called := map[int64]bool{}
	calls := map[trace.TrackID][]int{}
	for i, c := range s.Cat {
		if c == trace.CatPrivateRuntime {
			called[s.Corr[i]] = s.Corr[i] != trace.NoCorrelation || called[s.Corr[i]]
			calls[s.Track[i]] = append(calls[s.Track[i]], i)
		}
	}
	for _, list := range calls {
		slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(s.Start[a], s.Start[b]) })
	}
	var ops *threads
	if len(fromCANN) > 0 {
		ops = operators(t)
	}
	next := firstLink
	queued := map[place]int64{} // one enqueueing may send several rows
	for i, n := 0, s.Len(); i < n; i++ {
		if t.Tracks[s.Track[i]].Kind != trace.TrackGPU {
			continue
		}
		end := place{s.Track[i], s.Start[i]}
		from, ok := fromOp[end]
		if sent, known := fromCANN[end]; known && !ok {
			from, ok = ops.behind(sent)
		}
		if ok {
			if queued[from] == 0 {
				queued[from] = next
				next++
				add(t, from, queued[from])
			}
			s.Corr[i] = queued[from]
			continue
		}
		if called[s.Corr[i]] && s.Corr[i] != trace.NoCorrelation {
			continue
		}
		if from, ok := fromCANN[end]; ok {
			if c := around(s, calls[from.track], from.at); c >= 0 {
				if s.Corr[c] == trace.NoCorrelation || s.Corr[c] < firstLink {
					s.Corr[c] = next // its connection_id belongs to another row
					next++
				}
				s.Corr[i] = s.Corr[c]
			}
		}
	}
}

// ends maps each place where an arrow of the category ends to the place where it begins.
func ends(t *trace.Trace, category string) map[place]place {
	cat, ok := t.Strings.Lookup(category)
	if !ok {
		return nil
	}
	f := &t.Flows
	from := map[uint64]place{}
	for i, start := range f.Start {
		if start && f.Cat[i] == cat {
			from[f.ID[i]] = place{f.Track[i], f.Time[i]}
		}
	}
	out := map[place]place{}
	for i, start := range f.Start {
		if p, ok := from[f.ID[i]]; ok && !start && f.Cat[i] == cat {
			out[place{f.Track[i], f.Time[i]}] = p
		}
	}
	return out
}

// around returns the last of calls, in order of their starts, that began at or before at
// and had not ended; -1 if there is none.
func around(s *trace.Slices, calls []int, at int64) int {
	k, found := slices.BinarySearchFunc(calls, at, func(i int, at int64) int { return cmp.Compare(s.Start[i], at) })
	if !found {
		k--
	}
	// A call within another one ends first; of the few that lie around it the innermost counts.
	for n := 0; k >= 0 && n < maxDepth; k, n = k-1, n+1 {
		if s.End(calls[k]) >= at {
			return calls[k]
		}
	}
	return -1
}

// maxDepth bounds how far around looks back for a call that has not ended.
const maxDepth = 64

// add adds the launch slice at the beginning of an arrow.
func add(t *trace.Trace, at place, corr int64) {
	s := &t.Slices
	s.Start, s.Dur = append(s.Start, at.at), append(s.Dur, 0)
	s.Name, s.Cat = append(s.Name, t.Intern(enqueue)), append(s.Cat, trace.CatPrivateRuntime)
	s.Track, s.Corr = append(s.Track, at.track), append(s.Corr, corr)
	s.Args, s.Event = append(s.Args, trace.NoArgs), append(s.Event, s.Event[len(s.Event)-1]+1)
}
