// Package driver is the life of a capture in a rank, written once for every kind of
// profiler: arming, the agreed instant, the schedule, the watchdogs, ending, files,
// left-overs. What differs is a Driver: it knows one profiler, and says what that can do,
// prepares, begins, ends, hands over files and discards.
//
// A Rank is a Driver's rank.Handler. Whatever the profiler, the hub sees the life that
// docs/protocol.md tells; package driver/drivertest holds every kind of rank to it.
package driver

import (
	"context"
	"time"

	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Driver controls one profiler. Its methods are called one at a time, but for
// Capabilities, which may be called at any time.
type Driver interface {
	// Capabilities says what the profiler can do now. A session that asks for more is
	// refused when it arms.
	Capabilities() Capabilities
	// Prepare makes all that can fail, so that a full disk, a busy profiler or a setting
	// that it does not know is found before anything starts. ctx bounds the call; the
	// Job is the Capture's to keep. What is returned with an error is not used.
	Prepare(ctx context.Context, j Job) (Capture, error)
}

// Capture is one session on a profiler, from Prepare on. Begin and End are called at most
// once each, one after the other; Discard ends it and may be the first call. Files and
// Written may be called while another method runs.
type Capture interface {
	// Begin turns the profiler on and returns when it records. It is called at the agreed instant
	// or, if the Rank counts iterations, where the schedule's window opens, on the thread that
	// works. ctx ends if the session does; if Begin then returns ctx's error, Discard removes what
	// it had begun.
	Begin(ctx context.Context) (Began, error)
	// End turns the profiler off after a successful Begin. It returns as soon as the profiler needs
	// no further calls; the profiler may go on writing, for which Files waits. After an error,
	// recorded files stay where a salvage finds them.
	End(ctx context.Context) (Ended, error)
	// Files waits, bounded by ctx, until all that was recorded is in files, and returns
	// them. They stay until Discard. The same answer is given again.
	Files(ctx context.Context) (Files, error)
	// Written is how many bytes the recording has so far, 0 if that is not known.
	Written() int64
	// Discard removes all files of the capture, also those that its profiler writes later.
	Discard() error
}

// Early is implemented by a Capture that has to be told the instant before it, by the
// Driver's Ahead: BeginAt is called in place of Begin, and its profiler begins at that time of
// the rank's clock, or as soon as it can after it.
type Early interface {
	BeginAt(ctx context.Context, at time.Time) (Began, error)
}

// Writer is implemented by a Capture whose profiler writes on after its end: people then see
// how far it is. Writing may be called while Files waits.
type Writer interface{ Writing() protocol.Writing }

// Counter is implemented by a Capture that knows, while it records, how many events it has
// and how many were dropped. Counted may be called while another method runs.
type Counter interface {
	Counted() (events, drops uint64)
}

// Keeper is implemented by a Driver whose files outlive the process: a successor under the
// same name hands them over.
type Keeper interface {
	// Leftover returns the files that are left of a session, none if there are none. The session is
	// a ULID.
	Leftover(session string) []rank.File
	// DiscardLeftover removes them. That there are none is not an error.
	DiscardLeftover(session string) error
}

// Capabilities is what a profiler can do. Where it cannot, a text says why and what to do
// instead; it becomes the reason of the refusal. Empty texts mean that it can.
type Capabilities struct {
	Iterations   Iterations
	NoIterations string // with IterationsNone
	NoDelay      string // why a window cannot begin some iterations later
	NoWarmup     string // why wait and warm-up iterations cannot be chosen
	NoPast       string // why there is nothing to look back at
	NoSampling   string // why sample_requests cannot be followed
	NoBytes      string // why max_bytes cannot end a recording
	// Lead is how long after the agreed instant the profiler may begin; the hub waits so
	// much longer for the answer to start.
	Lead time.Duration
	// Ahead is how long before the agreed instant Begin is called, with an Early capture: the
	// hub agrees on an instant that is so far away.
	Ahead time.Duration
	// Flush is how long after the end the files may take; the hub waits so much longer
	// for the answer to collect.
	Flush time.Duration
}

// Iterations says who counts a session's iterations.
type Iterations int

// Who counts iterations.
const (
	IterationsNone    Iterations = iota // nobody can
	IterationsTold                      // the Rank: its owner calls Step and Request
	IterationsCounted                   // the profiler itself, as the Job's config says
)

// Job is what a session asks of a Driver. It has been validated.
type Job struct {
	Session     string // a ULID
	Config      protocol.ProfilerConfig
	MaxDuration time.Duration    // 0: no bound but the hub's
	MaxBytes    int64            // the Driver ends the recording at so much; 0: no bound
	Last        time.Duration    // not 0: Begin takes what the profiler remembers of so long before
	Now         func() time.Time // the rank's clock
	// Over says that recording has ended without being asked to: by itself, for cause, or
	// badly if err is not nil. It does not block and may be called from any goroutine, at
	// any time; only the first call counts. After a good end, End is called as ever.
	Over func(cause protocol.StopCause, err error)
}

// Began is the result of turning a profiler on.
type Began struct {
	At    time.Time // from when on, in the rank's clock
	Until time.Time // when it ends by itself; zero: when it is told to
}

// Ended is the result of turning a profiler off.
type Ended struct {
	At     time.Time // zero: now
	Events uint64
	Drops  uint64
	Bytes  uint64
	// Iterations that the profiler counted itself.
	Iterations int
	Note       string // what people should know of the end
}

// Files is what a capture hands over.
type Files struct {
	Files  []rank.File
	Events uint64 // 0: as Ended said
	Drops  uint64
	Note   string // what the files lack
	// Failed is why the rank itself has failed although there are files, of others say.
	Failed string
	// Others are ranks that the profiler recorded as well and that are known by their
	// files alone, with those that should have left some and did not: State is
	// protocol.StateStopped or StateFailed, with a Reason.
	Others []rank.Other
}
