package outcome

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/units"
)

// followEvery is how often the line of progress asks about a session that is ending.
const followEvery = 500 * time.Millisecond

// Follow shows on the line how far the session that ask returns is. It goes on until end is called,
// which waits for it. While ask returns nil the line does not change.
func Follow(ctx context.Context, p *cli.Progress, ask func(context.Context) *session.Status) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for wait.For(ctx, followEvery) == nil {
			if text := Ending(ask(ctx)); text != "" && ctx.Err() == nil {
				p.Say("%s", text)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// Ending says in one line how far a session is between its stop and its end; "" in other states.
func Ending(st *session.Status) string {
	if st == nil {
		return ""
	}
	ranks, recording, home := 0, 0, 0
	var all protocol.Writing
	writing := 0
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			ranks++
			switch {
			case r.State.Terminal():
				home++
			case r.State == protocol.StateRecording:
				recording++
			}
			if w := r.Writing; w != nil {
				writing++
				all.Files, all.Done = all.Files+w.Files, all.Done+w.Done
				all.Bytes, all.Sent = all.Bytes+w.Bytes, all.Sent+w.Sent
			}
		}
	}
	var parts []string
	switch st.State {
	case session.StateStopping:
		parts = append(parts, fmt.Sprintf("stopping: %d of %d ranks have stopped", ranks-recording, ranks))
	case session.StateCollecting:
		parts = append(parts, fmt.Sprintf("collecting: %d of %d ranks are done", home, ranks))
	case session.StateConverting:
		if st.Progress == nil {
			return "converting"
		}
		return fmt.Sprintf("converting %d of %d: %s", st.Progress.Done, st.Progress.Total, st.Progress.What)
	default:
		return ""
	}
	if writing > 0 {
		parts = append(parts, Writing(all))
	}
	return strings.Join(parts, "; ")
}

// Writing says how much of its files a rank has written.
func Writing(w protocol.Writing) string {
	if w.Files == 0 {
		return "no file yet"
	}
	text := fmt.Sprintf("%s in %s, %d whole", units.Bytes(w.Bytes), units.Plural(w.Files, "file"), w.Done)
	if w.Sent > 0 {
		text += fmt.Sprintf(", %s handed over", units.Bytes(w.Sent))
	}
	return text
}
