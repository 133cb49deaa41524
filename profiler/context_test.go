package profiler

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"sync"
	"testing"
)

func TestRegion(t *testing.T) {
	r := New(Config{})
	ctx := NewContext(context.Background(), r)
	if c, a := Region(ctx, testOp); c != ctx || a != nil || a.ID() != 0 {
		t.Error("a region while nothing is recorded")
	}
	if c, a := Region(context.Background(), testOp); c != context.Background() || a != nil {
		t.Error("a region without a recorder")
	}
	buf := startInto(t, r)
	outerCtx, outer := Region(ctx, testOp)
	var wg sync.WaitGroup
	var inner *ActiveRegion
	wg.Go(func() {
		_, inner = RegionWith(outerCtx, testKey, CategoryIO, func(s Span) { s.Text(testKey, "v") })
	})
	wg.Wait()
	wg.Go(func() {
		inner.EndWith(func(s Span) { s.Int(testKey, 7) })
		inner.End()
	})
	wg.Wait()
	outer.End()
	stop(t, r)
	want := []string{
		fmt.Sprintf("async+ test op cat=1 id=%x ", outer.ID()),
		fmt.Sprintf("async+ test key cat=3 id=%x parent=%d test key=\"v\"", inner.ID(), int64(outer.ID())),
		fmt.Sprintf("async- test key cat=0 id=%x test key=7", inner.ID()),
		fmt.Sprintf("async- test op cat=0 id=%x ", outer.ID()),
	}
	diffLanes(t, map[string]*lane{"regions": {asyncs: want}}, decode(t, buf))
	outer.End()
}

func TestRegionsFromManyGoroutines(t *testing.T) {
	r := New(Config{})
	ctx := NewContext(context.Background(), r)
	buf := startInto(t, r)
	var wg sync.WaitGroup
	const goroutines, regions = 8, 300
	for range goroutines {
		wg.Go(func() {
			for range regions {
				c, a := Region(ctx, testOp)
				_, b := Region(c, testKey)
				b.End()
				a.End()
			}
		})
	}
	wg.Wait()
	stop(t, r)
	got := decode(t, buf)
	if n := len(got.lanes["regions"].asyncs); n != goroutines*regions*4 {
		t.Errorf("%d ends", n)
	}
}

func TestDo(t *testing.T) {
	r := New(Config{})
	ctx := NewContext(context.Background(), r)
	buf := startInto(t, r)
	var goTrace bytes.Buffer
	tracing := trace.Start(&goTrace) == nil
	Do(ctx, testOp, DoOptions{RuntimeTrace: true, Labels: []string{"stage", "thinker"}}, func(ctx context.Context) {
		if v, ok := pprof.Label(ctx, "stage"); !ok || v != "thinker" {
			t.Errorf("label %q", v)
		}
		if FromContext(ctx) != r {
			t.Error("the recorder is not in the context")
		}
	})
	if tracing {
		trace.Stop()
		if !strings.Contains(goTrace.String(), "test op") {
			t.Error("runtime/trace has no region")
		}
	}
	stop(t, r)
	if n := len(decode(t, buf).lanes["regions"].asyncs); n != 2 {
		t.Errorf("%d ends", n)
	}
}
