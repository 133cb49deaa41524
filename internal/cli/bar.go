package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/units"
)

// barAfter is how long reading takes before a bar appears; what takes less needs none.
const barAfter = time.Second

// barEvery is how often the bar is drawn.
const barEvery = 100 * time.Millisecond

// Bar shows on a terminal how far reading is, or anything else that is counted. On other streams it
// shows nothing.
type Bar struct {
	mu sync.Mutex
	w  io.Writer // nil: silent
	pb *progressbar.ProgressBar

	next time.Duration // when to draw again
}

// NewBar shows on w if that is a terminal.
func NewBar(w io.Writer) *Bar {
	if f := terminal(w); f != nil {
		return &Bar{w: f}
	}
	return &Bar{}
}

// Update shows a reader's progress; it is an open.Options.Progress.
func (b *Bar) Update(p open.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.w == nil || p.Elapsed < barAfter || p.Elapsed < b.next {
		return
	}
	b.next = p.Elapsed + barEvery
	if b.pb == nil {
		whole := p.Size
		if whole <= 0 {
			whole = -1 // standard input: a spinner
		}
		b.pb = progressbar.NewOptions64(whole, progressbar.OptionSetWriter(b.w), progressbar.OptionSetWidth(20),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(false))
	}
	what := units.Bytes(p.Read)
	if p.Size > 0 {
		what += " of " + units.Bytes(p.Size)
	}
	if p.Files > 1 {
		what = fmt.Sprintf("%d of %d files, %s", p.Done, p.Files, what)
	}
	what += fmt.Sprintf(", %.1f M events/s", float64(p.Events)/p.Elapsed.Seconds()/1e6)
	if eta := p.ETA().Round(time.Second); eta > 0 {
		what += fmt.Sprintf(", %s left", eta)
	}
	b.pb.Describe(neutral.Plain(what))
	b.pb.Set64(p.Read)
}

// Count shows that done of total are finished, and that what is next.
func (b *Bar) Count(done, total int, what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.w == nil {
		return
	}
	if b.pb == nil {
		b.pb = progressbar.NewOptions(total, progressbar.OptionSetWriter(b.w), progressbar.OptionSetWidth(20),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(true))
	}
	b.pb.Describe(neutral.Plain(what))
	b.pb.Set(done)
}

// End clears the line.
func (b *Bar) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pb != nil {
		b.pb.Clear()
		b.pb = nil
	}
}
