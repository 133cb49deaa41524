package pipeline

import (
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/native"
	"github.com/kinetoscope/kinetoscope/trace/sglangomni"
)

// Recorded reports whether t was recorded by a stage of a pipeline, which says in it what it does for
// which request: rather than by a profiler in a stage, whose name only the file's place tells, or by a
// program that recorded itself. Analyze means something of such traces, and of those of a run.
func Recorded(t *trace.Trace) bool {
	return (t.Meta.Format == native.Format || t.Meta.Format == sglangomni.Format) &&
		(t.Meta.StageID >= 0 || t.Meta.Stage != "")
}
