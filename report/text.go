package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/units"
)

// Text writes r for a reader at a terminal: what ran, a picture of the time, the
// tables, the way to the first output and the findings, the most important last.
func Text(w io.Writer, r *pipeline.Report, o TextOptions) error {
	p := &printer{w: bufio.NewWriter(w), o: o.withDefaults(), r: r}
	p.header()
	p.doubts()
	if len(r.Stages) > 0 {
		p.picture()
		p.times()
		p.steps()
		p.ops()
		p.comms()
		p.metrics()
		p.batches()
		p.requests()
		p.chain()
		p.bottleneck()
	}
	p.findings()
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// printer writes one report. Write errors stay in w until Flush.
type printer struct {
	w *bufio.Writer
	o TextOptions
	r *pipeline.Report
}

var asciiText = strings.NewReplacer("→", "->", "µ", "u", "…", "..", "–", "-", "─", "-", "±", "+/-", "•", "*", "×", "x",
	"▏", "|", "█", "#", "↳", ">")

// plain makes s fit for the reader's terminal.
func (p *printer) plain(s string) string {
	if !p.o.ASCII {
		return s
	}
	s = asciiText.Replace(s)
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, s)
}

// line writes one line; control characters that came with a name are shown as blanks.
func (p *printer) line(s string) {
	p.w.WriteString(strings.TrimRight(styled(p.plain(s)), " "))
	p.w.WriteByte('\n')
}

func (p *printer) section(title, note string) {
	p.w.WriteByte('\n')
	title = p.plain(title)
	s := p.bold(cut(title, p.o.Width, p.plain("…")))
	if room := p.o.Width - utf8.RuneCountInString(title) - 2; note != "" && room > minFlex {
		s += "  " + p.dim(cut(p.plain(note), room, p.plain("…")))
	}
	p.line(s)
}

func (p *printer) table(t *table) {
	if p.o.ASCII {
		for _, r := range t.rows {
			for i := range r {
				r[i] = p.plain(r[i])
			}
		}
		for i := range t.cols {
			t.cols[i].title = p.plain(t.cols[i].title)
		}
	}
	ell := p.plain("…")
	head, rows := t.lines(p.o.Width, ell)
	p.line(p.dim(head))
	for _, r := range rows {
		p.line(r)
	}
}

func stageName(s *pipeline.Stage) string {
	if s.Name != "" {
		return neutral.Plain(s.Name)
	}
	if s.StageID < 0 {
		return "program"
	}
	return fmt.Sprintf("stage %d", s.StageID)
}

// rankName names a rank within its stage; replicas only where there are several.
func rankName(s *pipeline.Stage, k *pipeline.Rank) string {
	replicas := false
	for i := range s.Ranks {
		replicas = replicas || s.Ranks[i].Replica != s.Ranks[0].Replica
	}
	if replicas {
		return fmt.Sprintf("%d.%d", k.Replica, max(0, k.Rank))
	}
	return fmt.Sprint(max(0, k.Rank))
}

func (p *printer) header() {
	names, facts := about(p.r)
	if len(names) == 0 {
		p.line(p.bold("Pipeline") + "  no traces")
		return
	}
	for i, l := range join(names, p.plain(" → "), p.o.Width-10) {
		if i == 0 {
			p.line(p.bold("Pipeline") + "  " + l)
			continue
		}
		p.line("          → " + l)
	}
	for _, l := range wrap(strings.Join(facts, ", "), p.o.Width-tableIndent) {
		p.line("  " + l)
	}
}

// about returns the stages with their numbers of ranks, and what there is to know of the whole.
func about(r *pipeline.Report) (names, facts []string) {
	ranks := 0
	for i := range r.Stages {
		s := &r.Stages[i]
		n := stageName(s)
		if len(s.Ranks) > 1 {
			n += fmt.Sprintf(" ×%d", len(s.Ranks))
		}
		names = append(names, n)
		ranks += len(s.Ranks)
	}
	facts = []string{"window " + units.Duration(float64(r.WindowNs)), units.Plural(ranks, "rank")}
	if r.RequestCount > 0 {
		facts = append(facts, units.Plural(r.RequestCount, "request"))
	}
	if r.Latency.TTFT.Count > 0 {
		facts = append(facts, "first token after "+units.Duration(r.Latency.TTFT.P50Ns))
	}
	if r.Latency.FirstOutput.Count > 0 && r.FirstOutput != nil {
		facts = append(facts, "first "+r.FirstOutput.Output+" after "+units.Duration(r.Latency.FirstOutput.P50Ns)+
			" (median)")
	}
	if r.ClockUncertaintyNs > 0 {
		facts = append(facts, "clocks ±"+units.Duration(float64(r.ClockUncertaintyNs)))
	}
	return names, facts
}

// leastDoubt is the severity from which a doubt begins the page. Below it next to nothing rests on what is
// doubted, and the list of findings has it.
const leastDoubt = analysis.Notice

// doubts says before any number what the numbers lack.
func (p *printer) doubts() {
	said := 0
	for _, f := range p.r.Findings {
		if !f.Doubt || f.Severity < leastDoubt {
			continue
		}
		if said++; said > maxVerdicts {
			continue
		}
		for _, l := range wrap("In doubt: "+neutral.Plain(f.Text), p.o.Width-tableIndent) {
			p.line("  " + l)
		}
	}
	p.more(said-maxVerdicts, "doubt")
}

// picture draws each rank over the window, then each rank's shares.
func (p *printer) picture() {
	label := 0
	each := func(f func(name string, k *pipeline.Rank)) {
		for i := range p.r.Stages {
			s := &p.r.Stages[i]
			for j := range s.Ranks {
				f(stageName(s)+" "+rankName(s, &s.Ranks[j]), &s.Ranks[j])
			}
		}
	}
	each(func(name string, _ *pipeline.Rank) { label = max(label, utf8.RuneCountInString(name)) })
	label = min(label, 24)
	const tail = 7 // " 100 %" and a blank
	cells := p.o.Width - tableIndent - label - 2 - tail
	p.section("Time", "each rank over the window of "+units.Duration(float64(p.r.WindowNs)))
	name := func(s string) string { return "  " + pad(cut(p.plain(s), label, p.plain("…")), label, true) + " " }
	each(func(n string, k *pipeline.Rank) {
		p.line(name(n) + "▏" + p.drawCells(resample(k.Strip, p.letters(cells))))
	})
	p.line(name("") + " " + axis(p.r.WindowNs, cells))
	p.line(p.dim(name("") + " " + cut("shares of the window; busy", cells+tail, "…")))
	each(func(n string, k *pipeline.Rank) {
		bar := p.drawCells(shareBar(k.Time, p.letters(cells)))
		p.line(name(n) + "▏" + bar + pad(units.Share(k.BusyShare), tail, false))
	})
	line, used := "", 0
	for _, c := range occurring(p.r) {
		// Counted without the codes of colours: a swatch is one cell or a word.
		n := 4 + utf8.RuneCountInString(looks[c].word) + max(0, utf8.RuneCountInString(p.cell(c.Letter())))
		if c == pipeline.CatOther {
			n += len(blankSwatch)
		}
		if used+n > p.o.Width && line != "" {
			p.line("  " + line)
			line, used = "", 0
		}
		line += p.swatch(c) + " " + looks[c].word + "   "
		used += n
	}
	p.line("  " + line)
}

// blankSwatch stands for a cell that shows nothing.
const blankSwatch = "(blank)"

func (p *printer) swatch(c pipeline.Category) string {
	l := string(c.Letter())
	if p.o.Color && ansi(c.Letter()) != 0 {
		return p.drawCells(l + l)
	}
	if s := p.cell(c.Letter()); s != " " {
		return s
	}
	return blankSwatch
}

// axis writes 0, the middle and the end of the window below cells.
func axis(window int64, cells int) string {
	mid, end := units.Duration(float64(window)/2), units.Duration(float64(window))
	s := pad("0", cells/2-utf8.RuneCountInString(mid)/2, true) + mid
	return s + pad(end, cells-utf8.RuneCountInString(s), false)
}

// times is the table of exclusive times.
func (p *printer) times() {
	cats := occurring(p.r)
	var largest float64
	for _, s := range p.r.Stages {
		for _, k := range s.Ranks {
			for _, c := range k.Time {
				largest = max(largest, float64(c.ExclusiveNs))
			}
		}
	}
	div, unit := units.TimeUnit(largest)
	t := &table{cols: []column{{title: "stage", left: true, flex: true}, {title: "rank", left: true}}}
	for _, c := range cats {
		col := column{title: looks[c].word}
		switch c {
		case pipeline.CatSample:
			col.drop = 3
		case pipeline.CatSchedule:
			col.drop = 2
		case pipeline.CatOther:
			col.drop = 1
		}
		t.cols = append(t.cols, col)
	}
	device := false
	for i := range p.r.Stages {
		for j := range p.r.Stages[i].Ranks {
			device = device || p.r.Stages[i].Ranks[j].HasDevice
		}
	}
	t.cols = append(t.cols, column{title: "busy"})
	if device {
		t.cols = append(t.cols, column{title: "device busy"})
	}
	for i := range p.r.Stages {
		s := &p.r.Stages[i]
		for j := range s.Ranks {
			k := &s.Ranks[j]
			row := []string{stageName(s), rankName(s, k)}
			if j > 0 {
				row[0] = ""
			}
			for _, c := range cats {
				cell := "–"
				for _, x := range k.Time {
					if x.Category == c && x.ExclusiveNs > 0 {
						cell = fixed(float64(x.ExclusiveNs), largest, div)
					}
				}
				row = append(row, cell)
			}
			row = append(row, units.Share(k.BusyShare))
			if device {
				row = append(row, units.Share(k.DeviceBusyShare))
			}
			t.add(row...)
		}
	}
	p.section("Time by stage and rank", "exclusive, "+unit)
	p.table(t)
}

func (p *printer) steps() {
	t := &table{cols: []column{
		{title: "stage", left: true, flex: true}, {title: "step", left: true}, {title: "count"}, {title: "mean"},
		{title: "p50"}, {title: "p99"}, {title: "max", drop: 1}, {title: "batch", drop: 3}, {title: "tokens", drop: 2},
		{title: "steps/s", drop: 4},
	}}
	for i := range p.r.Stages {
		s := &p.r.Stages[i]
		for j, x := range s.Steps {
			name := stageName(s)
			if j > 0 {
				name = ""
			}
			batch, tokens := "–", "–"
			if x.Batch > 0 {
				batch = fmt.Sprintf("%.1f", x.Batch)
			}
			if x.Tokens > 0 {
				tokens = units.Count(x.Tokens)
			}
			t.add(
				name, looks[x.Category].word, units.Count(int64(x.Count)), units.Duration(x.MeanNs),
				units.Duration(x.P50Ns),
				units.Duration(x.P99Ns), units.Duration(float64(x.MaxNs)), batch, tokens,
				units.Digits(1e9/max(1, x.MeanNs)),
			)
		}
	}
	if len(t.rows) > 0 {
		p.section("Steps", "whole steps, communication inside them too; first rank of each replica")
		p.table(t)
	}
}

func (p *printer) ops() {
	t := &table{cols: []column{
		{title: "stage", left: true}, {title: "operator", left: true, flex: true}, {title: "calls"}, {title: "self"},
		{title: "of window"}, {title: "total", drop: 2}, {title: "FLOP", drop: 3}, {title: "GFLOP/s", drop: 1},
		{title: "bytes", drop: 4},
	}}
	for i := range p.r.Stages {
		s := &p.r.Stages[i]
		n := len(s.Ops)
		if p.o.Ops >= 0 {
			n = min(n, p.o.Ops)
		}
		for j, x := range s.Ops[:n] {
			name := stageName(s)
			if j > 0 {
				name = ""
			}
			flops, rate, bytes := "–", "–", "–"
			if x.FLOPs > 0 {
				flops, rate = units.Scaled(float64(x.FLOPs), ""), units.Digits(x.GFLOPPerS)
			}
			if x.Bytes > 0 {
				bytes = units.Bytes(x.Bytes)
			}
			t.add(
				name, neutral.Plain(x.Name), units.Count(int64(x.Calls)), units.Duration(float64(x.SelfNs)),
				units.Share(x.Share),
				units.Duration(float64(x.TotalNs)), flops, rate, bytes,
			)
		}
	}
	if len(t.rows) > 0 {
		p.section("Top operators", "by self time, all ranks of a stage together")
		p.table(t)
	}
}

func (p *printer) comms() {
	t := &table{cols: []column{
		{title: "stage", left: true, flex: true}, {title: "rank", left: true},
		{title: "collective", left: true, flex: true},
		{title: "ranks", drop: 2}, {title: "calls"}, {title: "bytes"}, {title: "time"}, {title: "mean", drop: 1},
		{title: "GB/s"},
		{title: "waits for peers"}, {title: "last in", drop: 3},
	}}
	for i := range p.r.Stages {
		s := &p.r.Stages[i]
		for j := range s.Ranks {
			k := &s.Ranks[j]
			for _, c := range k.Comms {
				last, peer, group := "–", "–", "–"
				if k.Matched > 0 {
					last, peer = units.Share(k.LastInShare), units.Duration(float64(c.PeerWaitNs))
				}
				if c.GroupSize > 0 {
					group = fmt.Sprint(c.GroupSize)
				}
				t.add(stageName(s), rankName(s, k), neutral.Plain(c.Name), group, units.Count(int64(c.Calls)),
					units.Bytes(c.Bytes),
					units.Duration(float64(c.TotalNs)), units.Duration(c.MeanNs), units.Rate(c.AlgGBPerS), peer, last)
			}
		}
	}
	if len(t.rows) > 0 {
		p.section("Communication", "")
		p.table(t)
	}
}

func (p *printer) bottleneck() {
	b := p.r.Bottleneck
	if b == nil {
		return
	}
	p.section("Bottleneck", "")
	others := make([]string, 0, len(b.Others))
	for _, o := range b.Others {
		others = append(others, fmt.Sprintf("%s %s", neutral.Plain(o.Stage), units.Share(o.BusyShare)))
	}
	s := fmt.Sprintf("%s is busy %s of the time while steps run", neutral.Plain(b.Stage), units.Share(b.BusyShare))
	if len(others) > 0 {
		s += " (" + strings.Join(others, ", ") + ")"
	}
	if all := units.Share(p.r.WindowShare(b.StageID)); all != units.Share(b.BusyShare) {
		s += "; of the whole window, as the bars show it, " + all
	}
	s += fmt.Sprintf(". Limit: %s. %s.", b.Limit, neutral.Plain(upperFirst(b.Why)))
	if b.Missing != "" {
		s += " " + neutral.Plain(upperFirst(b.Missing)) + "."
	}
	for _, l := range wrap(s, p.o.Width-tableIndent) {
		p.line("  " + l)
	}
}

func upperFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return strings.ToUpper(string(r)) + s[n:]
}

var severityMarks = map[analysis.Severity]struct {
	mark string
	ansi string
}{
	analysis.Critical: {"!!", "\x1b[1;31m"},
	analysis.Warning:  {"! ", "\x1b[33m"},
	analysis.Notice:   {"• ", "\x1b[36m"},
	analysis.Info:     {"  ", "\x1b[39m"},
}

func (p *printer) findings() {
	if len(p.r.Findings) == 0 {
		return
	}
	p.section("Findings", "")
	for _, f := range p.r.Findings {
		p.finding(f.Finding, f.Where)
	}
}

// finding writes one finding with its code, by which docs/troubleshooting.md and the verb explain
// have it, and where to look.
func (p *printer) finding(f analysis.Finding, where string) {
	m := severityMarks[f.Severity]
	mark := m.mark
	if p.o.Color {
		mark = m.ansi + mark + ansiReset
	}
	text := f.Text
	if f.Code != "" {
		text += " [" + string(f.Code) + "]"
	}
	for i, l := range wrap(neutral.Plain(text), p.o.Width-5) {
		if i > 0 {
			mark = "  "
		}
		p.line("  " + mark + " " + l)
	}
	if where != "" {
		p.line(p.dim("     ↳ " + cut(neutral.Plain(where), p.o.Width-9, "…")))
	}
}
