package worker

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// settledAnew is settled without memory of what was searched before.
func settledAnew(text string, stops []string, last bool) (until int, stopped bool) {
	for i := range len(text) {
		for _, stop := range stops {
			if stop != "" && strings.HasPrefix(text[i:], stop) {
				return i, true
			}
		}
	}
	if last {
		return len(text), false
	}
	for i := range len(text) {
		for _, stop := range stops {
			if strings.HasPrefix(stop, text[i:]) {
				return i, false
			}
		}
	}
	return len(text), false
}

func TestSettled(t *testing.T) {
	for _, c := range []struct {
		text    string
		stops   []string
		last    bool
		until   int
		stopped bool
	}{
		{"abc", nil, false, 3, false},
		{"abc", []string{""}, false, 3, false},
		{"one. tw", []string{"two"}, false, 5, false},
		{"one. tw", []string{"two"}, true, 7, false},
		{"one. two", []string{"two"}, false, 5, true},
		{"abcb", []string{"bcbd", "cb"}, false, 2, true}, // what might have become bcbd is sent: nothing follows
		{"abcb", []string{"cb", "bc"}, false, 1, true},
	} {
		if until, stopped := settled(c.text, 0, c.stops, c.last); until != c.until || stopped != c.stopped {
			t.Errorf("%q with %q, last %v: %d, %v, want %d, %v", c.text, c.stops, c.last, until, stopped, c.until,
				c.stopped)
		}
	}
}

// Text that comes in pieces settles as if it were searched from its start each time.
func TestSettledInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stops := rapid.SliceOfN(rapid.StringMatching(`[ab\x{e9}]{0,5}`), 0, 4).Draw(t, "stops")
		pieces := rapid.SliceOfN(rapid.StringMatching(`[ab\x{e9}]{0,4}`), 1, 30).Draw(t, "pieces")
		text, from := "", 0
		for i, piece := range pieces {
			text += piece
			last := i == len(pieces)-1
			until, stopped := settled(text, from, stops, last)
			if want, wantStopped := settledAnew(text, stops, last); until != want || stopped != wantStopped {
				t.Fatalf("%q from %d with %q, last %v: %d, %v, want %d, %v", text, from, stops, last, until, stopped,
					want, wantStopped)
			}
			if until < from {
				t.Fatalf("%q: %d was settled, now %d", text, from, until)
			}
			if stopped {
				return
			}
			from = until
		}
	})
}

// BenchmarkSettled is the last token of a long text that no stop string is in.
func BenchmarkSettled(b *testing.B) {
	text := strings.Repeat("lorem ipsum ", 4096)
	stops := []string{"\n\nUser:", "<|end|>"}
	for _, c := range []struct {
		name string
		from int
	}{{"anew", 0}, {"tail", len(text) - 12}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				settled(text, c.from, stops, false)
			}
		})
	}
}
