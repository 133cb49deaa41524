package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
)

// look is how a category appears in text: a word for tables, a glyph without colours, a colour of the
// 256-colour palette. Pictures have it in the colours of the timeline.
type look struct {
	word  string
	glyph rune
	ascii byte
	ansi  int
}

var looks = [pipeline.NumCategories]look{
	pipeline.CatPrefill:    {"prefill", '█', 'P', 33},
	pipeline.CatDecode:     {"decode", '▓', 'd', 79},
	pipeline.CatTextEncode: {"text encode", '█', 'E', 33},
	pipeline.CatDenoise:    {"denoise", '▓', 'n', 79},
	pipeline.CatVAEDecode:  {"VAE decode", '▚', 'V', 171},
	pipeline.CatVocode:     {"vocode", '▚', 'A', 171},
	pipeline.CatComm:       {"comm", '▒', 'c', 208},
	pipeline.CatHandoff:    {"hand-off", '╱', 'h', 220},
	pipeline.CatSchedule:   {"schedule", '═', 's', 109},
	pipeline.CatSample:     {"sample", '≡', 'm', 151},
	pipeline.CatOps:        {"operators", '▪', 'o', 68},
	pipeline.CatWait:       {"wait", '·', '-', 245},
	pipeline.CatOther:      {"other", ' ', '.', 0},
}

// resample draws a strip in n cells. Like the strip itself it diffuses what a cell
// cannot show into the next ones, so that the proportions stay.
func resample(strip string, n int) string {
	if len(strip) == 0 || n <= 0 {
		return ""
	}
	out := make([]byte, n)
	var carry [256]float64
	for i := range out {
		lo, hi := i*len(strip)/n, (i+1)*len(strip)/n
		if hi <= lo {
			hi = lo + 1
		}
		var in [256]int
		for _, b := range []byte(strip[lo:hi]) {
			in[b]++
		}
		best := -1
		for b := range in {
			if in[b] == 0 {
				continue
			}
			carry[b] += float64(in[b]) / float64(hi-lo)
			if best < 0 || carry[b] > carry[best] {
				best = b
			}
		}
		carry[best]--
		out[i] = byte(best)
	}
	return string(out)
}

// shareBar returns n letters in the proportions of l, in its order, by largest remainder.
func shareBar(l []pipeline.CategoryTime, n int) string {
	type part struct {
		i     int
		cells int
		rest  float64
	}
	parts := make([]part, len(l))
	used := 0
	for i, t := range l {
		exact := min(max(t.Share, 0), 1) * float64(n)
		parts[i] = part{i, int(exact), exact - float64(int(exact))}
		used += parts[i].cells
	}
	slices.SortStableFunc(parts, func(a, b part) int {
		switch {
		case a.rest > b.rest:
			return -1
		case a.rest < b.rest:
			return 1
		}
		return 0
	})
	for k := range parts {
		if used < n && parts[k].rest > 0 {
			parts[k].cells++
			used++
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return a.i - b.i })
	var b strings.Builder
	for _, p := range parts {
		// A report from elsewhere can have shares that sum to more than 1.
		room := n - b.Len()
		b.WriteString(strings.Repeat(string(l[p.i].Category.Letter()), min(p.cells, room)))
	}
	return pad(b.String(), n, true)
}

// drawCells draws letters as cells. With colours a cell holds two letters, one in each half; blank
// halves show the terminal's background.
func (p *printer) drawCells(letters string) string {
	var b strings.Builder
	if !p.o.Color {
		for _, l := range []byte(letters) {
			b.WriteString(p.cell(l))
		}
		return b.String()
	}
	state := ""
	emit := func(codes, cell string) {
		if codes != state {
			b.WriteString(ansiReset + codes)
			state = codes
		}
		b.WriteString(cell)
	}
	for i := 0; i < len(letters); i += 2 {
		left, right := ansi(letters[i]), ansi(letters[min(i+1, len(letters)-1)])
		switch {
		case p.o.ASCII:
			emit(fg(left), p.cell(letters[i]))
		case left == right && left == 0:
			emit("", " ")
		case left == right:
			emit(fg(left), "█")
		case left == 0:
			emit(fg(right), "▐")
		case right == 0:
			emit(fg(left), "▌")
		default:
			emit(fg(left)+fmt.Sprintf("\x1b[48;5;%dm", right), "▌")
		}
	}
	if state != "" {
		b.WriteString(ansiReset)
	}
	return b.String()
}

// letters is how many letters drawCells puts into n cells.
func (p *printer) letters(n int) int {
	if p.o.Color {
		return 2 * n
	}
	return n
}

func (p *printer) cell(letter byte) string {
	c, ok := pipeline.CategoryOfLetter(letter)
	switch {
	case !ok:
		return " "
	case p.o.ASCII:
		return string(looks[c].ascii)
	}
	return string(looks[c].glyph)
}

const ansiReset = "\x1b[0m"

// ansi returns the colour of a letter; 0 for a blank one.
func ansi(letter byte) int {
	if c, ok := pipeline.CategoryOfLetter(letter); ok {
		return looks[c].ansi
	}
	return 0
}

// fg selects a foreground colour; nothing for 0.
func fg(color int) string {
	if color == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[38;5;%dm", color)
}

// bold and dim mark text where there are colours.
func (p *printer) bold(s string) string {
	if p.o.Color {
		return "\x1b[1m" + s + ansiReset
	}
	return s
}

func (p *printer) dim(s string) string {
	if p.o.Color {
		return "\x1b[2m" + s + ansiReset
	}
	return s
}

// occurring returns the categories that own time on any rank, in their order.
func occurring(r *pipeline.Report) []pipeline.Category {
	var has [pipeline.NumCategories]bool
	for _, s := range r.Stages {
		for _, t := range s.Time {
			has[t.Category] = has[t.Category] || t.ExclusiveNs > 0
		}
	}
	var out []pipeline.Category
	for c, ok := range has {
		if ok {
			out = append(out, pipeline.Category(c))
		}
	}
	return out
}
