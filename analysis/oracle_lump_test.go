package analysis

import "sort"

// lumpHTA is HTA's way to shorten one kind's table: ratio is a quantile of the column
// of running sums and not a share of the time, and once anything is lumped the
// statistics of every row are those of its one sum.
func lumpHTA(rows []KernelRow, top int, ratio float64) []KernelRow {
	if len(rows) <= top {
		return rows
	}
	cum := make([]float64, len(rows))
	run := 0.0
	for i, r := range rows {
		run += float64(r.SumNs)
		cum[i] = run
	}
	sorted := append([]float64(nil), cum...)
	sort.Float64s(sorted)
	limit := percentile(sorted, ratio)
	byName := map[string]*agg{}
	var order []string
	for i, r := range rows {
		name := r.Name
		if cum[i] > limit || i >= top {
			name = Others
		}
		a := byName[name]
		if a == nil {
			a = &agg{}
			byName[name] = a
			order = append(order, name)
		}
		a.add(r.SumNs)
	}
	var out []KernelRow
	for _, name := range order {
		a := byName[name]
		out = append(out, KernelRow{Name: name, Kind: rows[0].Kind, Count: a.n, SumNs: a.sum, MaxNs: a.max,
			MinNs:  a.min,
			MeanNs: float64(a.sum) / float64(a.n), StdNs: a.std()})
	}
	return out
}
