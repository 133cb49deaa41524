package analysis

import "github.com/kinetoscope/kinetoscope/analysis/view"

// Options choose what an analysis looks at and whose definitions it uses. The zero
// value is right for every trace: all slices, our definitions, exact nanoseconds.
type Options struct {
	// HTA reproduces Holistic Trace Analysis bit by bit where it is defined, mistakes
	// included: its rows (any slice with a stream argument is a device row), its
	// filter (the last ProfilerStep is dropped), its kernel types, its rounding of
	// fractional microseconds. Use it to compare with HTA's numbers, never to decide.
	HTA bool
	// HTAIncludeLastStep keeps the last ProfilerStep, as HTA's
	// include_last_profiler_step does. Without effect unless HTA is set.
	HTAIncludeLastStep bool
	// HTAAllSteps turns the step filter off, as HTA's TraceDiff does.
	HTAAllSteps bool
	// Window limits the analysis to [StartNs, EndNs): slices that reach over an edge
	// are cut there. Nil means everything. Ignored with HTA.
	Window *Window
}

// Window is a half-open span of time on a trace's clock, in ns.
type Window struct {
	StartNs int64 `json:"start_ns"`
	EndNs   int64 `json:"end_ns"`
}

// Lane is one stream of one device; with Options.HTA, which knows no devices, Device is -1.
type Lane = view.Lane
