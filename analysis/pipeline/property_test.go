package pipeline

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/trace"
)

var drawNames = []string{
	trace.NamePrefill, trace.NameDecodeStep, trace.NameTextEncode, trace.NameDenoiseStep, trace.NameVAEDecode,
	trace.NameVocode,
	trace.NameHandoffSend, trace.NameHandoffRecv, trace.NameWait, trace.NameSchedule, trace.NameSample,
	trace.NameAllReduce,
	"record_param_comms", trace.NameRequest, "aten::mm", "aten::add", "something else",
}

// drawTrace makes slices without any order or nesting, some outside the window.
func drawTrace(t *rapid.T, rank int) *trace.Trace {
	r := pipetest.NewRank(rapid.IntRange(-1, 2).Draw(t, "stage"), "s", rapid.IntRange(0, 1).Draw(t, "replica"), rank, 2,
		0)
	r.T.Meta.WindowEnd = r.T.Meta.WindowStart + int64(rapid.IntRange(0, 120).Draw(t, "window"))
	if rapid.Bool().Draw(t, "wide") { // so that requests are whole and chains are made
		r.T.Meta.WindowStart -= 30
		r.T.Meta.WindowEnd = pipetest.Epoch + 200
	}
	for range rapid.IntRange(0, 2).Draw(t, "threads") {
		r.Thread("helper")
	}
	for range rapid.IntRange(0, 40).Draw(t, "slices") {
		name := rapid.SampledFrom(drawNames).Draw(t, "name")
		cat := trace.CatUserAnnotation
		if strings.Contains(name, "::") {
			cat = trace.CatCPUOp
		}
		args := fmt.Sprintf(`{"requests":%q,"step":%d,"Seq":%d,"flops":%d,"reason":%q}`,
			rapid.SampledFrom([]string{"", "a", "b", "a,b"}).Draw(t, "requests"), rapid.IntRange(0, 3).Draw(t, "step"),
			rapid.IntRange(0, 5).Draw(t, "seq"), rapid.IntRange(0, 9).Draw(t, "flops"),
			rapid.SampledFrom([]string{"queue", "input", "peer", "?"}).Draw(t, "reason"))
		start := pipetest.Epoch + int64(rapid.IntRange(-20, 130).Draw(t, "start"))
		track := trace.TrackID(rapid.IntRange(0, len(r.T.Tracks)-1).Draw(t, "track"))
		r.T.AddSlice(trace.Slice{Start: start, Dur: int64(rapid.IntRange(0, 60).Draw(t, "dur")), Name: name, Cat: cat,
			Track: track, Args: []byte(args)})
		if rapid.Bool().Draw(t, "flow") {
			r.T.AddFlow(start, uint64(rapid.IntRange(0, 4).Draw(t, "id")), "handoff", "handoff", track,
				rapid.Bool().Draw(t, "begins"))
		}
	}
	return r.T
}

func TestPropertyReport(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var traces []*trace.Trace
		for i := range rapid.IntRange(0, 4).Draw(t, "ranks") {
			traces = append(traces, drawTrace(t, i))
		}
		r := Analyze(traces, Options{})
		for _, s := range r.Stages {
			for _, k := range s.Ranks {
				var sum int64
				for _, c := range k.Time {
					sum += c.ExclusiveNs
					if c.ExclusiveNs < 0 || c.TotalNs < c.ExclusiveNs || c.TotalNs > k.WindowNs {
						t.Fatalf("%s: %+v in a window of %d", s.Name, c, k.WindowNs)
					}
				}
				if sum != k.WindowNs {
					t.Fatalf("categories sum to %d, the window is %d", sum, k.WindowNs)
				}
				if len(k.Strip) != r.StripCells {
					t.Fatalf("strip of %d cells, want %d", len(k.Strip), r.StripCells)
				}
				for _, o := range k.Ops {
					if o.SelfNs < 0 || o.Calls == 0 {
						t.Fatalf("operator %+v", o)
					}
				}
				var waits int64
				for _, w := range k.WaitReasons {
					waits += w.ExclusiveNs
				}
				if waits != exclusive(k.Time, CatWait) {
					t.Fatalf("reasons of waits sum to %d, waits to %d", waits, exclusive(k.Time, CatWait))
				}
			}
		}
		for _, c := range []*Chain{r.FirstOutput, r.MedianOutput} {
			if c == nil {
				continue
			}
			at := c.StartNs
			for _, l := range c.Links {
				if l.StartNs != at || l.DurNs < 0 {
					t.Fatalf("links leave a gap at %d: %+v", at, l)
				}
				at += l.DurNs
			}
			if at != c.StartNs+c.TotalNs {
				t.Fatalf("links end at %d, the chain at %d", at, c.StartNs+c.TotalNs)
			}
		}
		one, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		two, err := json.Marshal(Analyze(traces, Options{}))
		if err != nil {
			t.Fatal(err)
		}
		if string(one) != string(two) {
			t.Fatal("two reports of the same traces differ")
		}
	})
}

// TestPropertyOverlay compares overlay with asking each list at each instant.
func TestPropertyOverlay(t *testing.T) {
	const n = 60
	draw := func(t *rapid.T, name string) (l []segment, at [n]class) {
		pos := int64(0)
		for pos < n {
			pos += int64(rapid.IntRange(0, 5).Draw(t, name+" gap"))
			end := pos + int64(rapid.IntRange(1, 9).Draw(t, name+" length"))
			c := class(rapid.IntRange(int(clsPrefill), int(clsWaitPeer)).Draw(t, name+" class"))
			if end > n {
				break
			}
			l = appendSegment(l, pos, end, c)
			for i := pos; i < end; i++ {
				at[i] = c
			}
			pos = end
		}
		return l, at
	}
	rapid.Check(t, func(t *rapid.T) {
		a, atA := draw(t, "a")
		b, atB := draw(t, "b")
		var want []segment
		for i := range int64(n) {
			c := clsIdle
			switch x, y := atA[i], atB[i]; {
			case x == 0 && y != 0:
				c = y
			case y == 0 && x != 0:
				c = x
			case x != 0 && precedes(y, x):
				c = y
			case x != 0:
				c = x
			}
			want = appendSegment(want, i, i+1, c)
		}
		if d := cmp.Diff(want, fill(overlay(a, b), 0, n), cmp.AllowUnexported(segment{})); d != "" {
			t.Fatalf("-want +got:\n%s", d)
		}
	})
}

// TestPropertyStrip: a cell's letter is a category that occurs in the cell, and the
// letters are in the proportion of the times wherever both occur in every cell.
func TestPropertyStrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var segs []segment
		at := int64(0)
		for range rapid.IntRange(1, 300).Draw(t, "segments") {
			end := at + int64(rapid.IntRange(1, 50).Draw(t, "length"))
			segs = appendSegment(segs, at, end, rapid.SampledFrom([]class{clsDecode, clsComm}).Draw(t, "class"))
			at = end
		}
		cells := rapid.IntRange(1, 40).Draw(t, "cells")
		s := strip(segs, 0, at, cells)
		if len(s) != cells {
			t.Fatalf("strip of %d cells, want %d", len(s), cells)
		}
		width := float64(at) / float64(cells)
		everywhere := at >= int64(cells)
		var comm, exact float64
		for i := range cells {
			lo, hi := int64(float64(i)*width), int64(float64(i+1)*width)
			if i == cells-1 {
				hi = at
			}
			in := map[byte]int64{}
			for _, x := range segs {
				if d := min(x.end, hi) - max(x.start, lo); d > 0 {
					in[classCategory[x.cls].Letter()] += d
				}
			}
			if hi > lo && in[s[i]] == 0 {
				t.Fatalf("cell %d shows %q, which does not occur in it: %v", i, s[i], in)
			}
			if s[i] == 'c' {
				comm++
			}
			everywhere = everywhere && len(in) == 2
			if hi > lo {
				exact += float64(in['c']) / float64(hi-lo)
			}
		}
		if everywhere && (comm < exact-1 || comm > exact+1) {
			t.Fatalf("%g cells of communication, %.2f in proportion", comm, exact)
		}
	})
}
