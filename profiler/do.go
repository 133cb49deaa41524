package profiler

import (
	"context"
	"runtime/pprof"
	"runtime/trace"
)

// DoOptions say what else a Do leaves a mark in.
type DoOptions struct {
	RuntimeTrace bool     // a runtime/trace region, so that go tool trace shows it too
	Labels       []string // key, value, ...: pprof labels, so that CPU profiles can be split by them
}

// Do runs f as a region: in the Recorder of ctx, and beside it in Go's own tools as o
// says.
func Do(ctx context.Context, name Name, o DoOptions, f func(context.Context)) {
	ctx, region := Region(ctx, name)
	defer region.End()
	if o.RuntimeTrace && trace.IsEnabled() {
		defer trace.StartRegion(ctx, name.String()).End()
	}
	if len(o.Labels) > 0 {
		pprof.Do(ctx, pprof.Labels(o.Labels...), f)
		return
	}
	f(ctx)
}
