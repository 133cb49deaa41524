package protocol

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// HeaderIncarnation is the NATS header of a request that names the process it
// is meant for. A rank of another incarnation keeps silent, so that a restarted
// rank never answers for the one before it. Without the header any may answer.
const HeaderIncarnation = "Ks-Incarnation"

// Limits of names and times.
const (
	// MaxPipelineName bounds a pipeline's name: it is part of every subject,
	// and NATS keeps subjects short for speed.
	MaxPipelineName = 64
	// HubBeatInterval is how often a hub says that it is alive: many times in HubLossTimeout, and
	// no more often than that, because every rank wakes up for it.
	HubBeatInterval = 2 * time.Second
	// HubLossTimeout is how long a rank goes on recording without a beat of
	// the hub that armed it. It is longer than a hub's restart, so that a
	// restarted hub still stops all ranks at once, and it keeps what was recorded.
	HubLossTimeout = 30 * time.Second
	// DefaultMaxDuration is the watchdog of a session that names none.
	DefaultMaxDuration = 10 * time.Minute
)

// StopCause says what ended a rank's recording.
type StopCause string

// What can end a recording.
const (
	StoppedByRequest     StopCause = "request"        // StopRequest
	StoppedByIterations  StopCause = "max_iterations" // the limit was reached
	StoppedBySchedule    StopCause = "schedule"       // the active iterations are over
	StoppedByMaxDuration StopCause = "max_duration"
	StoppedByMaxBytes    StopCause = "max_bytes"
	StoppedByFlight      StopCause = "flight"     // the flight recorder's past was written
	StoppedByHubLost     StopCause = "hub_lost"   // no beat within HubLossTimeout
	StoppedBySuperseded  StopCause = "superseded" // the same hub armed another session
	StoppedByExit        StopCause = "exit"       // the process ends by itself
)

// HubBeatSubject is where the hub of that name beats; its body is a HubBeat.
func HubBeatSubject(hub string) string { return "ks.v1.hub." + hub + ".beat" }

// HubClaimSubject is where hubs of one name find out that there are two of them.
func HubClaimSubject(hub string) string { return "ks.v1.hub." + hub + ".claim" }

// HubBeatWildcard matches every hub's beat.
const HubBeatWildcard = "ks.v1.hub.*.beat"

// HubBeat says that a hub is alive.
type HubBeat struct {
	Hub  string `json:"hub"`
	AtNs int64  `json:"at_ns"` // hub's clock, Unix ns
}

// EventSubject is where a rank reports, unasked, that its recording ended; the
// body is a RankStatus.
func (r RankID) EventSubject() string { return "ks.v1.event." + r.Key() }

// EventWildcard matches every rank's events.
const EventWildcard = "ks.v1.event.>"

// FileBase begins the names of the files that a rank spools for a session:
// <spool>/<session>/<FileBase>.<ext>.
func (r RankID) FileBase() string {
	return fmt.Sprintf("stage%d_replica%d_rank%d", r.Stage, r.Replica, r.Rank)
}

// Text is the rank for people: "omni stage 0 replica 0 rank 1". It is not called String, because
// every struct that embeds a RankID would inherit that.
func (r RankID) Text() string {
	return fmt.Sprintf("%s stage %d replica %d rank %d", r.Pipeline, r.Stage, r.Replica, r.Rank)
}

// Compare orders ranks by pipeline, stage, replica, rank.
func (r RankID) Compare(o RankID) int {
	if c := strings.Compare(r.Pipeline, o.Pipeline); c != 0 {
		return c
	}
	for _, d := range [...]int{r.Stage - o.Stage, r.Replica - o.Replica, r.Rank - o.Rank} {
		if d != 0 {
			return d
		}
	}
	return 0
}

// ParseRankKey is the inverse of RankID.Key.
func ParseRankKey(key string) (RankID, error) {
	bad := fmt.Errorf("rank key %q: want <pipeline>.s<stage>.r<replica>.k<rank>", key)
	parts := strings.Split(key, ".")
	if len(parts) != 4 || ValidatePipelineName(parts[0]) != nil {
		return RankID{}, bad
	}
	var n [3]int
	for i, letter := range []string{"s", "r", "k"} {
		digits, ok := strings.CutPrefix(parts[i+1], letter)
		v, err := strconv.Atoi(digits)
		if !ok || err != nil || v < 0 || strconv.Itoa(v) != digits {
			return RankID{}, bad
		}
		n[i] = v
	}
	return RankID{Pipeline: parts[0], Stage: n[0], Replica: n[1], Rank: n[2]}, nil
}

// ValidatePipelineName refuses what cannot be one token of a NATS subject.
func ValidatePipelineName(s string) error {
	if s == "" || len(s) > MaxPipelineName {
		return fmt.Errorf("pipeline name %q: want 1 to %d characters", s, MaxPipelineName)
	}
	for _, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_', r == '-':
		default:
			return fmt.Errorf("pipeline name %q: %q is not a letter, digit, '_' or '-'", s, r)
		}
	}
	return nil
}

// StageNameRule says for an error what ValidStageName takes.
const StageNameRule = "letters, digits, - and _ only, 64 at most"

var stageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// ValidStageName reports whether a stage may be called s: its name is part of directories' names.
func ValidStageName(s string) bool { return stageName.MatchString(s) }

// Validate refuses a rank id that has no subject of its own.
func (r RankID) Validate() error {
	if err := ValidatePipelineName(r.Pipeline); err != nil {
		return err
	}
	if r.Stage < 0 || r.Replica < 0 || r.Rank < 0 {
		return fmt.Errorf("rank %s: negative number", r.Text())
	}
	return nil
}

// UploadPart is how many bytes of a file one object has that is uploaded in parts, but for its last:
// what is sent again after a cut, and small against a trace of a gigabyte.
const UploadPart = 32 << 20

// MaxParts bounds the parts of one file: those of MaxUpload.
const MaxParts = MaxUpload / UploadPart

// PartName is the object that holds part i of an upload.
func PartName(object string, i int) string { return fmt.Sprintf("%s.part%05d", object, i) }
