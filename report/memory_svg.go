package report

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/units"
)

// Measures of a memory picture's panels, in SVG user units.
const (
	memLeft    = 96 // of the plot; the axis' labels stand before it
	memRight   = svgWidth - svgMargin
	memHead    = 58 // title and facts above the plot
	memPlot    = 210
	memTop     = 22  // of the plot, for the peak's label
	memStrip   = 16  // of the phases below the plot
	memBelow   = 74  // phases, axis, legend
	memRow     = 18  // of the list of what was held at the peak
	memRows    = 5   // of that list
	memCut     = 0.6 // of the peak there at first and to stay: the axis is cut below
	memTitle   = 28  // of the list
	memColumns = memRight - memLeft
)

// heldLook is how a part of the memory appears: a word, and the part whose colour it has.
type heldLook struct{ word, part string }

var heldLooks = [analysis.NumHeldBy]heldLook{
	analysis.HeldBefore:      {"held before the recording", "before"},
	analysis.HeldPrefill:     held(pipeline.CatPrefill),
	analysis.HeldDecodeStep:  held(pipeline.CatDecode),
	analysis.HeldTextEncode:  held(pipeline.CatTextEncode),
	analysis.HeldDenoiseStep: held(pipeline.CatDenoise),
	analysis.HeldVAEDecode:   held(pipeline.CatVAEDecode),
	analysis.HeldVocode:      held(pipeline.CatVocode),
	analysis.HeldOther:       {"outside of steps", "other"},
	analysis.HeldUnknown:     {"unknown", "unknown"},
}

// held is how memory appears that steps of a category took.
func held(c pipeline.Category) heldLook { return heldLook{looks[c].word, c.String()} }

// memoryPanel is one device's part of a picture.
type memoryPanel struct {
	who  string
	tl   *analysis.MemoryTimeline
	d    *analysis.DeviceTimeline
	rows []analysis.LiveByOp
	low  int64 // where the axis begins
	step int64 // between its lines
	y    float64
}

// HeldMemorySVG writes a self-contained picture of the memory that allocators held over time:
// stacked by purpose, with the peak marked, the phases below it, and a list of what was held at the
// peak. Of more than eight devices it draws those of the first ranks.
func HeldMemorySVG(w io.Writer, list []Ranked[analysis.MemoryTimeline]) error {
	var panels []*memoryPanel
	height := float64(svgMargin)
	for i := range list {
		tl := &list[i].Value
		for k := range tl.Devices {
			if len(panels) == maxPictures {
				break
			}
			d := &tl.Devices[k]
			p := &memoryPanel{who: d.Device, tl: tl, d: d, y: height,
				rows: d.Peak.ByOp[:min(len(d.Peak.ByOp), memRows)]}
			if l := list[i].Label; l != "" {
				p.who = identity.Spoken(l) + ", " + d.Device
			}
			p.scale()
			height += memHead + memPlot + memBelow
			if len(p.rows) > 0 {
				height += memTitle + float64(len(p.rows))*memRow
			}
			panels = append(panels, p)
			height += svgMargin
		}
	}
	s := &svgWriter{w: bufio.NewWriter(w)}
	s.open(int(height), "What memory was held for")
	for _, p := range panels {
		s.memoryPanel(p)
	}
	return s.close()
}

// scale chooses the axis. Where most of the memory was there before the recording and
// stayed, the axis begins below that, or what the recording saw would be a line.
func (p *memoryPanel) scale() {
	stays := int64(0)
	for _, c := range p.d.Categories {
		if c.HeldBy == analysis.HeldBefore {
			stays = slices.Min(c.Bytes)
		}
	}
	p.step = axisStep(p.d.Peak.Bytes)
	if float64(stays) < memCut*float64(p.d.Peak.Bytes) {
		return
	}
	step := axisStep(max(p.d.Peak.Bytes-stays, p.d.Peak.Bytes/1000))
	if low := (stays/step - 1) * step; low > 0 {
		p.low, p.step = low, step
	}
}

// axisStep is the power of two that divides n into three to five parts, so that labels
// in binary units are round.
func axisStep(n int64) int64 {
	step := int64(1)
	for step < n/5 {
		step *= 2
	}
	return step
}

func (p *memoryPanel) yOf(bytes int64) float64 {
	share := float64(max(0, bytes-p.low)) / float64(max(1, p.d.Peak.Bytes-p.low))
	return p.y + memHead + memTop + (1-min(1, share))*(memPlot-memTop)
}

// xOf is where a time since the window's start lies.
func (p *memoryPanel) xOf(ns int64) float64 {
	if p.tl.SpanNs <= 0 {
		return memLeft
	}
	return memLeft + min(1, max(0, float64(ns)/float64(p.tl.SpanNs)))*memColumns
}

func (s *svgWriter) memoryPanel(p *memoryPanel) {
	pk := &p.d.Peak
	s.text(svgMargin, p.y+12, "h", fmt.Sprintf("%s: at most %s", p.who, units.Bytes(pk.Bytes)))
	s.text(svgMargin, p.y+32, "d", p.facts())
	bottom := p.y + memHead + memPlot
	s.axis(p, bottom)
	s.areas(p)
	if p.low > 0 {
		s.cutMark(bottom)
	}
	s.phases(p, bottom)
	for q, class := range []string{"d", "m", "m", "m", "d e"} {
		at := float64(q) / 4
		s.text(memLeft+at*memColumns, bottom+memStrip+18, class, units.Duration(at*float64(p.tl.SpanNs)))
	}
	s.peakMark(p, bottom)
	s.heldRows(p, s.memoryLegend(p, bottom+memStrip+44)+memTitle)
}

// memoryLegend says what the colours are and how much each was at the peak, and returns
// where it ended.
func (s *svgWriter) memoryLegend(p *memoryPanel, y float64) float64 {
	s.text(svgMargin, y+1, "d", "at the peak")
	x := float64(memLeft)
	for _, c := range p.d.Categories {
		l := heldLooks[c.HeldBy]
		words := l.word + " " + units.Bytes(c.AtPeakBytes)
		if over := x + 17 + float64(6*len(words)); over > memRight {
			x, y = memLeft, y+memRow
		}
		s.rect(x, y-9, 12, 12, l.part, fmt.Sprintf(
			"%s: %s at the peak, %s at most, %s at the end", l.word, units.Bytes(c.AtPeakBytes),
			units.Bytes(c.MaxBytes),
			units.Bytes(c.EndBytes),
		))
		s.text(x+17, y+1, "d", words)
		x += 17 + float64(6*len(words)) + 16
	}
	return y
}

// facts is the line below a panel's title.
func (p *memoryPanel) facts() string {
	pk := &p.d.Peak
	var b strings.Builder
	fmt.Fprintf(&b, "after %s of %s", units.Duration(float64(pk.TimeNs)), units.Duration(float64(p.tl.SpanNs)))
	switch {
	case pk.Op != "":
		fmt.Fprintf(&b, " in %s", pk.Op)
		if pk.Region >= analysis.HeldPrefill && pk.Region <= analysis.HeldVocode && pk.Op != pk.Region.String() {
			fmt.Fprintf(&b, " of %s", heldLooks[pk.Region].word)
		}
	case pk.Region == analysis.HeldBefore:
		b.WriteString(", where the recording began")
	}
	fmt.Fprintf(&b, "; %s at first, %s at last; %s", units.Bytes(p.d.BaseBytes), units.Bytes(p.d.EndBytes),
		units.Plural(p.d.Events, "memory event"))
	if !p.d.HasAddresses {
		b.WriteString(" without addresses, so that nobody can tell what was held for what")
	}
	return cut(neutral.Plain(b.String()), 160, "…")
}

// axis draws lines at round numbers of bytes.
func (s *svgWriter) axis(p *memoryPanel, bottom float64) {
	for v := p.low; v <= p.d.Peak.Bytes; v += p.step {
		y := p.yOf(v)
		label := units.Bytes(v)
		if p.low > 0 && v > p.low {
			label = "+" + units.Bytes(v-p.low)
		}
		s.f("<path d=\"M%d %.1fH%d\" stroke=\"#8b949e\" stroke-opacity=\".25\"/>\n", memLeft, y, memRight)
		s.f("<text x=\"%d\" y=\"%.1f\" class=\"d e\">%s</text>\n", memLeft-8, y+4, esc(label))
	}
	s.f("<path d=\"M%d %.1fH%d\" stroke=\"#8b949e\"/>\n", memLeft, bottom, memRight)
}

// cutMark shows that the axis does not begin at 0.
func (s *svgWriter) cutMark(bottom float64) {
	s.f("<path d=\"M%d %.1f", memLeft, bottom-7)
	for x := memLeft; x < memRight; x += 20 {
		s.f("l10 -3l10 3")
	}
	s.f("\" fill=\"none\" class=\"z\" stroke-width=\"2\"><title>the axis does not begin at 0</title></path>\n")
}

// areas stacks the categories, each a column wide moment with the largest total.
func (s *svgWriter) areas(p *memoryPanel) {
	at := p.columns()
	below := make([]int64, len(at))
	above := make([]int64, len(at))
	for _, c := range p.d.Categories {
		for x, k := range at {
			above[x] = below[x] + c.Bytes[k]
		}
		l := heldLooks[c.HeldBy]
		s.f("<path %s d=\"%s\"><title>%s: %s at the peak</title></path>\n", fill(l.part), p.outline(above, below),
			esc(l.word), units.Bytes(c.AtPeakBytes))
		copy(below, above)
	}
}

// columns returns, for each column of the plot, the point with the largest total among
// those that hold in it.
func (p *memoryPanel) columns() []int {
	out := make([]int, memColumns)
	k := 0
	for x := range out {
		end := memLeft + float64(x+1)
		out[x] = k
		for k+1 < len(p.d.TimesNs) && p.xOf(p.d.TimesNs[k+1]) < end {
			if k++; p.d.TotalBytes[k] > p.d.TotalBytes[out[x]] {
				out[x] = k
			}
		}
	}
	for k+1 < len(p.d.TimesNs) { // what lies at the very end
		if k++; p.d.TotalBytes[k] > p.d.TotalBytes[out[len(out)-1]] {
			out[len(out)-1] = k
		}
	}
	return out
}

// outline is the path around an area of steps.
func (p *memoryPanel) outline(above, below []int64) string {
	var b strings.Builder
	tenth := func(v int64) float64 { return math.Round(p.yOf(v)*10) / 10 }
	y := tenth(above[0])
	fmt.Fprintf(&b, "M%d %g", memLeft, y)
	for x := range above {
		if next := tenth(above[x]); next != y {
			y = next
			fmt.Fprintf(&b, "H%dV%g", memLeft+x, y)
		}
	}
	y = tenth(below[len(below)-1])
	fmt.Fprintf(&b, "H%dV%g", memRight, y)
	for x, v := range slices.Backward(below) {
		if next := tenth(v); next != y {
			y = next
			fmt.Fprintf(&b, "H%dV%g", memLeft+x+1, y)
		}
	}
	fmt.Fprintf(&b, "H%dZ", memLeft)
	return b.String()
}

// phases draws what the rank did, below the time.
func (s *svgWriter) phases(p *memoryPanel, bottom float64) {
	for _, ph := range p.tl.Phases {
		from, to := p.xOf(ph.StartNs), p.xOf(ph.EndNs)
		l := heldLooks[ph.Region]
		words := l.word
		if ph.Count > 1 {
			words += fmt.Sprintf(" ×%d", ph.Count)
		}
		s.rect(from, bottom+3, max(1, to-from), memStrip-3, l.part, fmt.Sprintf(
			"%s: %s", words, units.Duration(float64(ph.EndNs-ph.StartNs)),
		))
		if to-from > float64(6*len(words)+8) {
			s.f("<text x=\"%.1f\" y=\"%.1f\" style=\"fill:%s;font-size:10px\">%s</text>\n", from+4, bottom+13,
				timeline.Ink, esc(words))
		}
	}
}

// peakMark marks the peak and says how much it is.
func (s *svgWriter) peakMark(p *memoryPanel, bottom float64) {
	x, y := p.xOf(p.d.Peak.TimeNs), p.yOf(p.d.Peak.Bytes)
	s.f("<path d=\"M%.1f %.1fV%.1f\" stroke=\"#d1242f\" stroke-dasharray=\"3 3\"/>\n", x, y, bottom)
	s.f("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"#d1242f\"/>\n", x, y)
	words := "peak " + units.Bytes(p.d.Peak.Bytes)
	if x < memRight-float64(7*len(words)) {
		s.f("<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x+7, y-6, esc(words))
		return
	}
	s.f("<text x=\"%.1f\" y=\"%.1f\" class=\"e\">%s</text>\n", x-7, y-6, esc(words))
}

// heldRows lists the memory that was allocated in the recording and held at the peak.
func (s *svgWriter) heldRows(p *memoryPanel, y float64) {
	if len(p.rows) == 0 {
		return
	}
	pk := &p.d.Peak
	s.text(memLeft, y, "", fmt.Sprintf(
		"Held at the peak, of the recording's own %s in %s", units.Bytes(pk.LiveBytes),
		units.Plural(pk.LiveCount, "allocation"),
	))
	for _, r := range p.rows {
		y += memRow
		name := r.Op
		if name == "" {
			name = "(outside operators)"
		}
		if r.Count > 1 {
			name += fmt.Sprintf(" ×%d", r.Count)
		}
		wide := 300 * float64(r.Bytes) / float64(max(1, pk.LiveBytes))
		s.text(memLeft, y, "d", cut(neutral.Plain(name), 56, "…"))
		s.rect(memLeft+370, y-9, max(1, wide), 11, heldLooks[r.Region].part, heldLooks[r.Region].word)
		s.text(memLeft+370+wide+6, y, "d", units.Bytes(r.Bytes)+", "+
			units.Share(float64(r.Bytes)/float64(max(1, pk.LiveBytes))))
	}
}
