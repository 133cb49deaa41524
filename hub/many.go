package hub

import (
	"time"

	"github.com/kinetoscope/kinetoscope/session"
)

// What many ranks need beyond what a few do. A hub does some milliseconds of work for each; with a
// thousand on a busy machine that is more than the seconds after which one rank counts as sick.
const (
	// manyRanks is from how many ranks on that is counted.
	manyRanks = 64
	// patienceEach is added to the time that ranks have to answer, for each rank beyond manyRanks:
	// five times what one took on two busy cores.
	patienceEach = 100 * time.Millisecond
	// aheadEach is added to how long before the instant of a start ranks are told of it.
	aheadEach = 4 * time.Millisecond
	// presenceEach is added to the time for which a rank may be silent: all renew every PresenceInterval, and
	// the hub hears one after the other.
	presenceEach = 20 * time.Millisecond
	// armedAtOnce bounds how many ranks are measured and armed at a time: a clock that is probed
	// while a thousand others are is measured by its place in the queue.
	armedAtOnce = 32
)

// beyond is how much n ranks need above what manyRanks do.
func beyond(n int, each time.Duration) time.Duration {
	return each * time.Duration(max(0, n-manyRanks))
}

// forMany gives every answer of a session with n ranks the time that n need.
func forMany(t session.Timeouts, n int) session.Timeouts {
	t = t.WithDefaults()
	for _, d := range []*time.Duration{&t.Arm, &t.Start, &t.Stop, &t.Collect} {
		*d += beyond(n, patienceEach)
	}
	return t
}
