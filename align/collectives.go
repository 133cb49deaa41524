package align

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Collective is one collective on one rank.
type Collective struct {
	Group      string // process group
	Name       string // of the operation
	Seq        int64  // number in the group; if the trace has none, the order on the rank
	Start, End int64  // ns, rank's clock
}

// Collectives returns the collectives of t in order of their end: slices with a
// process group among their arguments. Where a launch and its device work both carry
// one, the device work counts, as the launch returns before the collective ends.
// Left out are slices cut off by the window's end and operations after which ranks do
// not leave together: broadcast, send, wait and the like.
func Collectives(t *trace.Trace) []Collective {
	var host, device []Collective
	numbers := map[string]int64{}
	for _, i := range byEnd(t) {
		group, ok := t.ArgText(i, trace.ArgGroupName)
		if !ok {
			continue
		}
		name := collectiveName(t, i)
		if !symmetric(name) || string(t.Arg(i, "finished")) == "false" {
			continue
		}
		c := Collective{Group: group, Name: name, Start: t.Slices.Start[i], End: t.Slices.End(i)}
		onDevice := t.Slices.Cat[i].Device()
		seq, ok := t.ArgInt(i, trace.ArgSeq)
		if !ok {
			key := group + "\x00" + name
			if onDevice {
				key += "\x00"
			}
			seq = numbers[key]
			numbers[key]++
		}
		c.Seq = seq
		if onDevice {
			device = append(device, c)
		} else {
			host = append(host, c)
		}
	}
	if len(device) > 0 {
		return device
	}
	return host
}

// symmetric reports whether every rank needs something of every other, so that none
// leaves before all have entered. Spellings are those of c10d, NCCL and HCCL.
func symmetric(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "")
	for _, s := range []string{"allreduce", "allgather", "reducescatter", "alltoall", "barrier"} {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

func byEnd(t *trace.Trace) []int {
	var rows []int
	for i, ref := range t.Slices.Args {
		if ref != trace.NoArgs {
			rows = append(rows, i)
		}
	}
	slices.SortStableFunc(rows, func(a, b int) int { return cmp.Compare(t.Slices.End(a), t.Slices.End(b)) })
	return rows
}

// collectiveName is the operation without the parts that differ between writers.
func collectiveName(t *trace.Trace, i int) string {
	if name, ok := t.ArgText(i, trace.ArgCollective); ok && name != "" {
		return name
	}
	return strings.Trim(strings.TrimPrefix(t.String(t.Slices.Name[i]), "c10d::"), "_")
}
