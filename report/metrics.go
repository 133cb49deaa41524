package report

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/units"
)

// metrics are what the ranks' servers told of themselves while they were profiled.
func (p *printer) metrics() {
	t := &table{cols: []column{
		{title: "stage", left: true, flex: true}, {title: "metric", left: true, flex: true},
		{title: "samples", drop: 2}, {title: "least", drop: 1}, {title: "mean"}, {title: "most"},
	}}
	for i := range p.r.Stages {
		s := &p.r.Stages[i]
		for j := range s.Ranks {
			k := &s.Ranks[j]
			name := stageName(s)
			if k.Replica > 0 {
				name += fmt.Sprintf(" replica %d", k.Replica)
			}
			for _, m := range k.Metrics {
				t.add(name, neutral.Plain(m.Name), fmt.Sprint(m.Samples), units.Scaled(m.Min, ""),
					units.Scaled(m.Mean, ""), units.Scaled(m.Max, ""))
			}
		}
	}
	if len(t.rows) > 0 {
		p.section("Servers", "what each said of itself at its /metrics meanwhile")
		p.table(t)
	}
}
