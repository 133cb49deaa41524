package driver

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// windows runs a schedule over n iterations and draws it: '.' before, 'R' an
// iteration that is recorded, '|' the end of the window.
func windows(c protocol.ProfilerConfig, n int) string {
	s := newSchedule(c)
	var b bytes.Buffer
	recording := s.start() == open
	for range n {
		if recording {
			b.WriteByte('R')
		} else {
			b.WriteByte('.')
		}
		switch s.iterationEnd() {
		case open:
			recording = true
		case shut:
			b.WriteByte('|')
			return b.String()
		}
	}
	return b.String()
}

func TestSchedule(t *testing.T) {
	for _, tt := range []struct {
		c    protocol.ProfilerConfig
		want string
	}{
		{protocol.ProfilerConfig{ActiveIterations: 2}, "RRRRRR"}, // active alone means nothing
		{protocol.ProfilerConfig{MaxIterations: 3}, "RRR|"},
		{protocol.ProfilerConfig{DelayIterations: 2}, "..RRRR"},
		{protocol.ProfilerConfig{DelayIterations: 2, MaxIterations: 1}, "..R|"},
		{protocol.ProfilerConfig{WaitIterations: 1, WarmupIterations: 1, ActiveIterations: 2}, "..RR|"},
		{protocol.ProfilerConfig{WarmupIterations: 1, ActiveIterations: 4, MaxIterations: 2}, ".RR|"},
		{protocol.ProfilerConfig{DelayIterations: 1, WaitIterations: 2, ActiveIterations: 1, MaxIterations: 9},
			"...R|"},
	} {
		if got := windows(tt.c, 6); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.c, got, tt.want)
		}
	}
}

func TestScheduleNeverRecordsMoreThanItsLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.IntRange(0, 4)
		c := protocol.ProfilerConfig{DelayIterations: small.Draw(t, "delay"), MaxIterations: small.Draw(t, "max"),
			WaitIterations: small.Draw(t, "wait"), WarmupIterations: small.Draw(t, "warmup"),
			ActiveIterations: 1 + small.Draw(t, "active")}
		got := windows(c, 40)
		skip := c.DelayIterations + c.WaitIterations + c.WarmupIterations
		limit := c.MaxIterations
		if c.WaitIterations+c.WarmupIterations > 0 && (limit == 0 || c.ActiveIterations < limit) {
			limit = c.ActiveIterations
		}
		want := strings.Repeat(".", skip) + strings.Repeat("R", limit) + "|"
		if limit == 0 {
			want = strings.Repeat(".", skip) + strings.Repeat("R", 40-skip)
		}
		if got != want {
			t.Fatalf("%+v: %s, want %s", c, got, want)
		}
	})
}
