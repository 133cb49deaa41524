package report

import (
	"bufio"
	"fmt"
	"io"
	"unicode/utf8"
)

// Explained is what the documentation says of one cause of a finding.
type Explained struct {
	Section string   `json:"section"` // what the finding is about
	Cells   []Titled `json:"cells"`   // what was found, the cause, the cure, in order
}

// Titled is a text under its title.
type Titled struct {
	Title string `json:"title"`
	Text  string `json:"text"`
}

// Explain writes what a code of findings means: one block for each of its causes, texts beside their
// titles.
func Explain(w io.Writer, code string, list []Explained, o TextOptions) error {
	p := &printer{w: bufio.NewWriter(w), o: o.withDefaults()}
	title := 0
	for _, x := range list {
		for _, c := range x.Cells {
			title = max(title, utf8.RuneCountInString(c.Title))
		}
	}
	for i, x := range list {
		if i > 0 {
			p.line("")
		}
		p.line(code + "  " + p.dim(x.Section))
		for _, c := range x.Cells {
			head := c.Title
			for _, l := range wrap(c.Text, p.o.Width-title-2*tableIndent) {
				p.line(fmt.Sprintf("  %-*s  %s", title, head, l))
				head = ""
			}
		}
	}
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write explanation: %w", err)
	}
	return nil
}
