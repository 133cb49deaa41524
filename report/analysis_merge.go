package report

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
)

// Ranked is one rank's result of an analysis. Label names the rank for a reader, alone
// if there is only one.
type Ranked[T any] struct {
	Label string
	Value T
}

// Part takes one field out of the results of several ranks.
func Part[T, U any](list []Ranked[T], f func(*T) U) []Ranked[U] {
	out := make([]Ranked[U], len(list))
	for i := range list {
		out[i] = Ranked[U]{Label: list[i].Label, Value: f(&list[i].Value)}
	}
	return out
}

// Values are the results without their labels, as JSON has them.
func Values[T any](list []Ranked[T]) []T {
	out := make([]T, len(list))
	for i := range list {
		out[i] = list[i].Value
	}
	return out
}

// AllRanks labels what was summed over ranks.
const AllRanks = "all"

// label is the cell of the column that names the rank; with one rank it is not shown.
func label[T any](list []Ranked[T], i int) Cell {
	if len(list) == 1 {
		return Cell{"", list[i].Label}
	}
	return Str(list[i].Label)
}

// merged sums the results of several ranks up; of one it changes nothing.
func merged[T any](list []Ranked[T], sum func([]T) T) []Ranked[T] {
	if len(list) < 2 {
		return list
	}
	values := make([]T, len(list))
	for i := range list {
		values[i] = list[i].Value
	}
	return []Ranked[T]{{AllRanks, sum(values)}}
}

// MergeKernels sums kernels over ranks by name and kind. Standard deviations over ranks
// are not known and are 0; the worst slice is none, for a slice's number says nothing without its
// rank.
func MergeKernels(list []Ranked[analysis.KernelBreakdown]) []Ranked[analysis.KernelBreakdown] {
	return merged(list, func(in []analysis.KernelBreakdown) analysis.KernelBreakdown {
		type key struct {
			name string
			kind analysis.Kind
		}
		out := analysis.KernelBreakdown{Rank: -1}
		rows, types := map[key]int{}, map[string]int{}
		var sum, typed int64
		for _, b := range in {
			for _, k := range b.Kernels {
				sum += k.SumNs
				at, ok := rows[key{k.Name, k.Kind}]
				if !ok {
					rows[key{k.Name, k.Kind}] = len(out.Kernels)
					k.StdNs, k.Worst = 0, analysis.NoSlice
					out.Kernels = append(out.Kernels, k)
					continue
				}
				r := &out.Kernels[at]
				r.Count, r.SumNs = r.Count+k.Count, r.SumNs+k.SumNs
				r.MaxNs, r.MinNs = max(r.MaxNs, k.MaxNs), min(r.MinNs, k.MinNs)
			}
			for _, t := range b.Types {
				typed += t.Ns
				if at, ok := types[t.Name()]; ok {
					out.Types[at].Ns += t.Ns
				} else {
					types[t.Name()] = len(out.Types)
					out.Types = append(out.Types, t)
				}
			}
		}
		for i := range out.Kernels {
			r := &out.Kernels[i]
			r.MeanNs, r.Share = float64(r.SumNs)/float64(max(r.Count, 1)), part(r.SumNs, sum)
		}
		for i := range out.Types {
			out.Types[i].Share = part(out.Types[i].Ns, typed)
		}
		slices.SortStableFunc(out.Kernels, func(a, b analysis.KernelRow) int {
			return cmp.Or(cmp.Compare(b.SumNs, a.SumNs), cmp.Compare(a.Name, b.Name))
		})
		slices.SortStableFunc(out.Types, func(a, b analysis.KernelType) int {
			return cmp.Or(cmp.Compare(b.Ns, a.Ns), cmp.Compare(a.Name(), b.Name()))
		})
		return out
	})
}

// MergeOps sums operators and labels over ranks by name, shape and stack; the worst slice is none,
// as in MergeKernels.
func MergeOps(list []Ranked[analysis.OpTable]) []Ranked[analysis.OpTable] {
	return merged(list, func(in []analysis.OpTable) analysis.OpTable {
		out := analysis.OpTable{Rank: -1}
		ops, labels := make([][]analysis.OpRow, len(in)), make([][]analysis.OpRow, len(in))
		for i, t := range in {
			out.CPUNs += t.CPUNs
			out.DeviceNs += t.DeviceNs
			out.UnattributedNs += t.UnattributedNs
			ops[i], labels[i] = t.Rows, t.Labels
		}
		out.Rows, out.Labels = mergeOpRows(ops), mergeOpRows(labels)
		return out
	})
}

func mergeOpRows(lists [][]analysis.OpRow) []analysis.OpRow {
	out := []analysis.OpRow{}
	rows := map[[4]string]int{}
	for _, list := range lists {
		for _, o := range list {
			k := [4]string{o.Name, o.Kind, o.Shapes, o.Stack}
			at, ok := rows[k]
			if !ok {
				rows[k] = len(out)
				o.Worst = analysis.NoSlice
				out = append(out, o)
				continue
			}
			r := &out[at]
			r.Count, r.CPUNs, r.SelfCPUNs = r.Count+o.Count, r.CPUNs+o.CPUNs, r.SelfCPUNs+o.SelfCPUNs
			r.DeviceNs, r.SelfDeviceNs = r.DeviceNs+o.DeviceNs, r.SelfDeviceNs+o.SelfDeviceNs
			r.Kernels, r.FLOPs = r.Kernels+o.Kernels, r.FLOPs+o.FLOPs
		}
	}
	slices.SortStableFunc(out, func(a, b analysis.OpRow) int {
		return cmp.Or(
			cmp.Compare(b.SelfDeviceNs, a.SelfDeviceNs), cmp.Compare(b.SelfCPUNs, a.SelfCPUNs),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return out
}

// part is a of b, 0 without b.
func part(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
