package report

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/units"
)

// Measures of the picture, in SVG user units.
const (
	svgWidth   = 960
	svgMargin  = 20
	svgLabel   = 150 // to the left of the lanes
	svgShares  = 150 // the bar of shares to the right
	svgLane    = 22
	svgGap     = 6
	svgChain   = 18
	svgColumns = 400 // cells of a lane; two user units each would be too fine to see
)

// svgWriter writes one picture. Write errors stay in w until Flush.
type svgWriter struct {
	w *bufio.Writer
	r *pipeline.Report
}

func (s *svgWriter) f(format string, args ...any) { fmt.Fprintf(s.w, format, args...) }

// esc makes s fit for text and attributes.
func esc(s string) string {
	var b strings.Builder
	// EscapeText fails only if the writer does; control characters become U+FFFD.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

func (s *svgWriter) text(x, y float64, class, v string) {
	s.f("<text x=\"%g\" y=\"%g\" class=\"%s\">%s</text>\n", x, y, class, esc(neutral.Plain(v)))
}

// fill is the attributes of a shape in the colour of a part of time or memory: the light one, which
// the class changes on a dark ground.
func fill(part string) string {
	return fmt.Sprintf("class=\"%s\" fill=\"%s\"", part, timeline.PartColor(part, false))
}

func (s *svgWriter) rect(x, y, w, h float64, part, title string) {
	s.f("<rect x=\"%.4g\" y=\"%g\" width=\"%.4g\" height=\"%g\" %s", x, y, w, h, fill(part))
	if title == "" {
		s.f("/>\n")
		return
	}
	s.f("><title>%s</title></rect>\n", esc(neutral.Plain(title)))
}

// SVG writes a picture of r that needs nothing else: each rank over the window, its
// shares, and the way to the first output.
func SVG(w io.Writer, r *pipeline.Report) error {
	s := &svgWriter{w: bufio.NewWriter(w), r: r}
	ranks := 0
	for i := range r.Stages {
		ranks += len(r.Stages[i].Ranks)
	}
	links := 0
	if r.FirstOutput != nil && r.FirstOutput.TotalNs > 0 {
		links = len(r.FirstOutput.Links)
	}
	height := 78 + ranks*(svgLane+svgGap) + 62
	if links > 0 {
		height += 36 + links*svgChain
	}
	s.open(height, "Where the time of a pipeline went")
	y := s.lanes()
	y = s.legend(y)
	if links > 0 {
		s.chain(y)
	}
	return s.close()
}

// open begins a picture: its size, its type, its ground.
func (s *svgWriter) open(height int, title string) {
	s.f("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
		svgWidth, height, svgWidth, height)
	s.f("<title>%s</title>\n", esc(title))
	s.f("<style>text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#2a2f36}.h{font-size:15px;font-weight:600}.d{fill:#6a737d;font-size:11px}.e{text-anchor:end}.m{text-anchor:middle;fill:#6a737d;font-size:11px}.g{fill:#fff;stroke:#d8dde3}.z{stroke:#fff}"+
		"@media(prefers-color-scheme:dark){text{fill:#e4e7eb}.d,.m{fill:#9aa4b0}.g{fill:#1b1f25;stroke:#333a43}.z{stroke:#1b1f25}%s}</style>\n", darkFills())
	s.f("<rect width=\"%d\" height=\"%d\" rx=\"8\" class=\"g\"/>\n", svgWidth, height)
}

// darkFills are the rules of a style for the parts' colours on a dark ground.
var darkFills = sync.OnceValue(func() string {
	var b strings.Builder
	for _, part := range slices.Sorted(maps.Keys(timeline.PartClasses())) {
		fmt.Fprintf(&b, ".%s{fill:%s}", part, timeline.PartColor(part, true))
	}
	return b.String()
})

// close ends the picture.
func (s *svgWriter) close() error {
	s.f("</svg>\n")
	if err := s.w.Flush(); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}

// lanes draws the head and the ranks, and returns where the next part begins.
func (s *svgWriter) lanes() float64 {
	var names []string
	for i := range s.r.Stages {
		names = append(names, stageName(&s.r.Stages[i]))
	}
	title := strings.Join(names, " → ")
	if b := s.r.Bottleneck; b != nil && b.Limit != pipeline.LimitLoad {
		title += fmt.Sprintf(": %s is the bottleneck", b.Stage)
		if b.Missing != "" {
			title += " of what is known"
		}
	}
	s.text(svgMargin, 30, "h", title)
	x0, wide := float64(svgMargin+svgLabel), float64(svgWidth-2*svgMargin-svgLabel-svgShares-20)
	s.text(x0, 56, "d", "the window of "+units.Duration(float64(s.r.WindowNs)))
	s.text(x0+wide+20, 56, "d", "shares; busy")
	y := 64.0
	for i := range s.r.Stages {
		st := &s.r.Stages[i]
		for j := range st.Ranks {
			k := &st.Ranks[j]
			s.text(svgMargin, y+15, "", stageName(st)+" "+rankName(st, k))
			s.strip(x0, y, wide, resample(k.Strip, svgColumns))
			s.shares(x0+wide+20, y, svgShares-44, k)
			s.f("<text x=\"%d\" y=\"%g\" class=\"e\">%s</text>\n", svgWidth-svgMargin, y+15,
				esc(units.Share(k.BusyShare)))
			y += svgLane + svgGap
		}
	}
	for q := range 5 {
		at := float64(q) / 4
		s.text(x0+at*wide, y+12, "m", units.Duration(at*float64(s.r.WindowNs)))
	}
	return y + 34
}

// strip draws runs of equal letters as rectangles.
func (s *svgWriter) strip(x, y, wide float64, letters string) {
	cell := wide / float64(max(1, len(letters)))
	for i := 0; i < len(letters); {
		k := i + 1
		for k < len(letters) && letters[k] == letters[i] {
			k++
		}
		if c, ok := pipeline.CategoryOfLetter(letters[i]); ok {
			s.rect(x+float64(i)*cell, y, float64(k-i)*cell, svgLane, c.String(), "")
		}
		i = k
	}
}

func (s *svgWriter) shares(x, y, wide float64, k *pipeline.Rank) {
	at := x
	for _, t := range k.Time {
		w := t.Share * wide
		if w < 0.05 {
			continue
		}
		s.rect(at, y+4, w, svgLane-8, t.Category.String(), fmt.Sprintf(
			"%s: %s, %s", looks[t.Category].word, units.Duration(float64(t.ExclusiveNs)), units.Share(t.Share),
		))
		at += w
	}
}

func (s *svgWriter) legend(y float64) float64 {
	x := float64(svgMargin)
	for _, c := range occurring(s.r) {
		s.rect(x, y-9, 12, 12, c.String(), "")
		s.text(x+17, y+1, "d", looks[c].word)
		x += 17 + float64(7*len(looks[c].word)) + 14
	}
	return y + 32
}

// chain draws the links to the first output one below the other.
func (s *svgWriter) chain(y float64) {
	c := s.r.FirstOutput
	s.text(svgMargin, y, "h", fmt.Sprintf("The way to the first %s: %s", c.Output, units.Duration(float64(c.TotalNs))))
	y += 12
	x0 := float64(svgMargin + svgLabel + 70)
	wide := float64(svgWidth) - x0 - svgMargin - 70
	for i := range c.Links {
		l := &c.Links[i]
		part, cat := pipeline.CatWait, pipeline.Category(0)
		if l.Kind == "handoff" {
			part = pipeline.CatHandoff
		} else if cat.UnmarshalText([]byte(l.Kind)) == nil {
			part = cat
		}
		from := x0 + float64(l.StartNs-c.StartNs)/float64(c.TotalNs)*wide
		w := max(1, float64(l.DurNs)/float64(c.TotalNs)*wide)
		name := l.Text
		if l.Steps > 1 {
			name += fmt.Sprintf(", %d steps", l.Steps)
		}
		s.text(svgMargin, y+12, "", cut(neutral.Plain(name), 34, "…"))
		s.rect(from, y+2, w, svgChain-6, part.String(), fmt.Sprintf("%s: %s", name, units.Duration(float64(l.DurNs))))
		s.text(from+w+5, y+12, "d", units.Duration(float64(l.DurNs)))
		y += svgChain
	}
}
