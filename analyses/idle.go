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
		return idleResult{Idle: k.Idle, Launch: k.Launches, Host: k.Host}
	},
	Page: pageIdle,
})

type idleOptions struct {
	NoMemory bool `help:"Leave copies and fills out of the launch statistics."`
}

// idleResult is why one rank's streams stood still.
type idleResult struct {
	Idle   analysis.Idle
	Launch analysis.LaunchStats
	Queue  analysis.Queue
	Host   cause.Report // for the page
	Names  report.SliceNames
}

func rankIdle(s *analysis.Subject, o *idleOptions, a Asked) (idleResult, error) {
	v := s.View(a.Options())
	r := idleResult{
		Idle:   v.Idle(),
		Launch: v.Launches(analysis.LaunchOptions{NoMemory: o.NoMemory}),
		Queue:  v.Queue(), Names: report.SliceNames{},
	}
	r.Launch.Launches = nil // a row a kernel, which no table shows
	for _, g := range r.Idle.Longest {
		r.Names.Keep(s.Trace, g.Before, g.After)
	}
	return r, nil
}

func answerIdle(list []report.Ranked[idleResult], _ *idleOptions, _ Asked) (Answer, error) {
	idle := report.Part(list, func(r *idleResult) analysis.Idle { return r.Idle })
	launch := report.Part(list, func(r *idleResult) analysis.LaunchStats { return r.Launch })
	queue := report.Part(list, func(r *idleResult) analysis.Queue { return r.Queue })
	names := func(i, slice int) string { return list[i].Value.Names[slice] }
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
	idle := report.Part(list, func(r *idleResult) analysis.Idle { return r.Idle })
	host := report.Part(list, func(r *idleResult) cause.Report { return r.Host })
	launch := report.Part(list, func(r *idleResult) analysis.LaunchStats { return r.Launch })
	return PagePart{Tables: []*report.Table{
		report.IdleTable(idle).Most(pageRows), report.HostTable(host).Most(pageRows), report.LaunchTable(launch),
	}}
}
