package analyses

import (
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/cause"
	"github.com/kinetoscope/kinetoscope/report"
)

var _ = Register(Analysis{
	Name: "idle", Order: 40, HTA: true,
	Help:    "Why the device stood still: causes, longest gaps, launches, queues.",
	Answers: "why the device stood still",
	Tables:  []string{"idle", "gaps", "launches", "calls", "queue", "queue_timeline"},
	JSON:    []Field{{"ranks", "analysis.Idle"}, {"launches", "analysis.LaunchStats"}, {"queue", "analysis.Queue"}},
}, Method[idleOptions, idleResult]{
	Rank: rankIdle, Answer: answerIdle,
	Reported: func(k *analysis.RankReport) idleResult {
		return idleResult{idle: k.Idle, launch: k.Launches, host: k.Host}
	},
	Page: pageIdle,
})

type idleOptions struct {
	NoMemory bool `help:"Leave copies and fills out of the launch statistics."`
}

// idleResult is why one rank's streams stood still.
type idleResult struct {
	idle   analysis.Idle
	launch analysis.LaunchStats
	queue  analysis.Queue
	host   cause.Report // for the page
	names  report.SliceNames
}

func rankIdle(s *analysis.Subject, o *idleOptions, a Asked) (idleResult, error) {
	v := s.View(a.Options())
	r := idleResult{
		idle:   v.Idle(),
		launch: v.Launches(analysis.LaunchOptions{NoMemory: o.NoMemory}),
		queue:  v.Queue(), names: report.SliceNames{},
	}
	r.launch.Launches = nil // a row a kernel, which no table shows
	for _, g := range r.idle.Longest {
		r.names.Keep(s.Trace, g.Before, g.After)
	}
	return r, nil
}

func answerIdle(list []report.Ranked[idleResult], _ *idleOptions, _ Asked) (Answer, error) {
	idle := report.Part(list, func(r *idleResult) analysis.Idle { return r.idle })
	launch := report.Part(list, func(r *idleResult) analysis.LaunchStats { return r.launch })
	queue := report.Part(list, func(r *idleResult) analysis.Queue { return r.queue })
	names := func(i, slice int) string { return list[i].Value.names[slice] }
	return Answer{
		JSON: map[string]any{"ranks": report.Values(idle), "launches": report.Values(launch),
			"queue": report.Values(queue)},
		Tables: []*report.Table{
			report.IdleTable(idle), report.GapTable(idle, names), report.LaunchTable(launch), report.CallTable(launch),
			report.QueueTable(queue),
		},
		Asked: []*report.Table{report.QueueSeriesTable(queue)},
	}, nil
}

func pageIdle(list []report.Ranked[idleResult], _ *report.TraceReport) PagePart {
	idle := report.Part(list, func(r *idleResult) analysis.Idle { return r.idle })
	host := report.Part(list, func(r *idleResult) cause.Report { return r.host })
	launch := report.Part(list, func(r *idleResult) analysis.LaunchStats { return r.launch })
	return PagePart{Tables: []*report.Table{
		report.IdleTable(idle).Most(pageRows), report.HostTable(host).Most(pageRows), report.LaunchTable(launch),
	}}
}
