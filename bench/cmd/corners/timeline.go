package main

import (
	"context"

	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/web/view"
)

// picturePx is the width of the picture in pixels.
const picturePx = 2000

// layOut does what the page does when a user opens a trace and looks around in it: it asks for the
// tree of tracks, a picture, a selection of everything, a search, and the overview with its
// findings.
func layOut(ctx context.Context, f flags) error {
	found, err := open.Find([]string{f.timeline})
	if err != nil {
		return err
	}
	var opened view.Opened
	if err := opened.Read(ctx, []view.Input{{Source: found[0]}}, open.Options{}, func(open.Progress) {}); err != nil {
		return err
	}
	tl, err := timeline.New(opened.Sources, timeline.Options{})
	if err != nil {
		return err
	}
	q := timeline.Query{From: 0, To: tl.EndNs + 1, Px: picturePx}
	for _, n := range tl.Tree(timeline.PackAuto) {
		if n.Slices > 0 && len(q.Tracks) < timeline.MaxTracks {
			q.Tracks = append(q.Tracks, n.ID)
		}
	}
	if _, err := tl.Slices(nil, q); err != nil {
		return err
	}
	if _, err := tl.Select(ctx, q); err != nil {
		return err
	}
	if _, err := tl.Search(ctx, timeline.Search{Text: "gemm"}); err != nil {
		return err
	}
	tl.Derived()
	tl.Overview()
	tl.StepTimes()
	tl.Findings()
	return nil
}
