package main

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/kinetoscope/kinetoscope/omni/overhead"
	"github.com/kinetoscope/kinetoscope/units"
)

// print writes the tables as Markdown.
func (m *measurement) print(out io.Writer) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "%d clients for %v, %d of them streaming completions, the others polling every %v: %d rounds of a "+
		"turn of %v in each state. Ratio to `off` in the same round, median and 95 %% interval. %s/%s, %d cores, %s.\n\n",
		m.o.clients, m.took.Round(time.Second), m.o.streams, m.o.think, m.o.rounds, m.o.turn,
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	fmt.Fprint(w, "| | of a turn | off | armed | recording | requests |\n|---|---|---:|---|---|---:|\n")
	for _, k := range kinds {
		for _, q := range []struct {
			name string
			q    float64
		}{{"median", 0.5}, {"99th percentile", 0.99}} {
			off := m.quantiles(overhead.StateOff, k, q.q)
			fmt.Fprintf(w, "| %s | %s | %s |", k, q.name, units.Duration(middle(off)*1e9))
			for _, s := range states[1:] {
				r := overhead.Compare(off, m.quantiles(s, k, q.q))
				if r == nil {
					fmt.Fprint(w, " – |")
					continue
				}
				fmt.Fprintf(w, " %.3f (%.2f–%.2f) |", r.Median, r.Low, r.High)
			}
			fmt.Fprintf(w, " %d |\n", m.count(k))
		}
	}
	fmt.Fprintf(w, "\n%d requests failed: %d off, %d armed, %d recording.\n\n", m.bad(states...), m.bad(states[0]),
		m.bad(states[1]), m.bad(states[2]))
	fmt.Fprint(w, "| the server | in the first quarter | in the last quarter |\n|---|---:|---:|\n")
	for _, row := range []struct {
		name string
		of   func(size) float64
		text func(float64) string
	}{
		{"goroutines", func(s size) float64 { return s.goroutines }, whole},
		{"open files", func(s size) float64 { return s.files }, whole},
		{"memory", func(s size) float64 { return s.memory }, func(v float64) string { return units.Bytes(int64(v)) }},
	} {
		var all []float64
		for _, s := range m.sizes {
			all = append(all, row.of(s))
		}
		n := max(1, len(all)/4)
		fmt.Fprintf(w, "| %s | %s | %s |\n", row.name, row.text(middle(all[:n])), row.text(middle(all[len(all)-n:])))
	}
	return w.Flush()
}

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }

// quantiles returns the q-quantiles, in seconds, of a kind of request in each turn of a state; 0
// where a turn has none.
func (m *measurement) quantiles(state, kind string, q float64) (out []float64) {
	for _, t := range m.turns[state] {
		list := slices.Sorted(slices.Values(t.times[kind]))
		if len(list) == 0 {
			out = append(out, 0)
			continue
		}
		out = append(out, list[int(float64(len(list)-1)*q)].Seconds())
	}
	return out
}

func (m *measurement) count(kind string) (n int) {
	for _, s := range states {
		for _, t := range m.turns[s] {
			n += len(t.times[kind])
		}
	}
	return n
}

func (m *measurement) bad(of ...string) (n int) {
	for _, s := range of {
		for _, t := range m.turns[s] {
			n += t.bad
		}
	}
	return n
}

func middle(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(list))[len(list)/2]
}
