package main

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/badtraces"
)

// corpus is a case of the corpus of bad traces.
func corpus(kind, name string) func(t *testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		for _, c := range badtraces.Cases() {
			if c.Kind != kind || c.Name != name {
				continue
			}
			dir := t.TempDir()
			if err := badtraces.Lay(dir, c.Files); err != nil {
				t.Fatal(err)
			}
			return dir
		}
		t.Fatalf("no case %q of kind %q", name, kind)
		return ""
	}
}

// device is what the verbs kernels and idle say of the devices' time, beside the report of traces.
func (q *numbers) device() {
	var k struct {
		Ranks    []analysis.KernelBreakdown
		Temporal []analysis.Temporal
	}
	q.json(&k, "kernels")
	for i := range k.Ranks {
		q.kernelRows("kernels", i, &k.Ranks[i])
		q.temporal("kernels", i, &k.Temporal[i])
	}
	var x struct {
		Ranks    []analysis.Idle
		Launches []analysis.LaunchStats
	}
	q.json(&x, "idle")
	for i := range x.Ranks {
		q.idle("idle", i, &x.Ranks[i], &x.Launches[i])
	}
	var v struct{ Report analysis.Report }
	q.json(&v, "report", "--traces")
	for i := range v.Report.Ranks {
		r := &v.Report.Ranks[i]
		q.kernelRows("report --traces", i, &r.Kernels)
		q.temporal("report --traces", i, &r.Temporal)
		q.idle("report --traces", i, &r.Idle, &r.Launches)
	}
}

func (q *numbers) kernelRows(door string, i int, b *analysis.KernelBreakdown) {
	for _, k := range b.Kernels {
		if k.Name == "others" { // of how many is up to who asks
			continue
		}
		q.say(door, float64(k.Count), i, "kernel", k.Name, "count")
		q.say(door, float64(k.SumNs), i, "kernel", k.Name, "time")
	}
}

func (q *numbers) temporal(door string, i int, t *analysis.Temporal) {
	q.say(door, float64(t.SpanNs), i, "span of the devices' work")
	q.say(door, float64(t.BusyNs), i, "device busy")
	q.say(door, float64(t.IdleNs), i, "device idle")
	for _, d := range t.Devices {
		q.say(door, float64(d.BusyNs), i, "device", d.Device, "busy")
	}
}

func (q *numbers) idle(door string, i int, x *analysis.Idle, l *analysis.LaunchStats) {
	for _, s := range x.Streams {
		lane := s.Lane
		q.say(door, float64(s.IdleNs), i, "stream", lane.Device, lane.Stream, "idle")
		for _, c := range s.Causes {
			q.say(door, float64(c.Ns), i, "stream", lane.Device, lane.Stream, "idle of cause", c.Cause)
		}
	}
	q.say(door, float64(l.Count), i, "launched work")
	q.say(door, float64(l.CPU.Sum), i, "time of launches")
}
