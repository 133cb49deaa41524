package cli

import (
	"fmt"
	"io"
	"sync"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
)

// Progress is one line on a terminal that says what the verb is doing. On other streams it shows
// nothing.
type Progress struct {
	mu  sync.Mutex
	w   io.Writer // nil: silent
	len int
}

// NewProgress shows on w if that is a terminal.
func NewProgress(w io.Writer) *Progress {
	if f := terminal(w); f != nil {
		return &Progress{w: f}
	}
	return &Progress{}
}

// Say replaces what the line says.
func (p *Progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil {
		return
	}
	text := neutral.Plain(fmt.Sprintf(format, args...))
	fmt.Fprintf(p.w, "\r%-*s", p.len, text)
	p.len = len(text)
}

// End clears the line.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil && p.len > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.len, "")
		p.len = 0
	}
}
