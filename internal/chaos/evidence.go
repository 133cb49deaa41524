package chaos

import (
	"fmt"
	"io"
	"strings"
)

// claims are the promises of the README, and what would fail if one did not hold: tests by
// package, beside the rows of the table.
var claims = []struct {
	promise string
	cells   string // of the table, "" if none strikes it
	tests   []string
}{
	{"every rank arms first, and all begin at one instant, or none", "arming",
		[]string{"session: TestEveryInterleaving", "session: TestArmFailureAbortsTheArmed",
			"hub: TestStartStopBringsEverythingHome", "hub: TestBeginningFarFromTheInstant"}},
	{"how well each rank's clock is known is said, and true", "a clock is set",
		[]string{"hub: TestSkewedClockIsMeasured", "hub: TestClockErrorHoldsTheTruth",
			"hub: TestClockSetBetweenProbeAndStart"}},
	{"every rank ends complete, failed, lost or timed out, with a reason; a session without one is partial", "all",
		[]string{"session: TestEveryInterleaving", "session: TestAnyOrderOfEventsEnds",
			"session: TestLostBeforeRecording"}},
	{"recordings are verified when they come home", "a recording is damaged",
		[]string{"hub: TestDamagedRecordingIsNotComplete", "profiler/format: TestReadsOnBehindDamage"}},
	{"nothing waits for a reply that cannot come", "a rank is killed, frozen, cut off",
		[]string{"hub: TestRankThatNeverAnswers", "hub: TestSilentDeathIsNoticed"}},
	{"a killed rank's trace is kept up to the crash", "a rank is killed",
		[]string{"hub: TestKilledRankIsLostAndItsTraceKept", "hub: TestSuccessorHandsOverWhatTheDeadRankRecorded"}},
	{"a second start is refused with the running session; stopping twice is no error", "",
		[]string{"web: TestProfileBusyIs409WithTheSession", "hub: TestBusyIdleIdempotent"}},
	{"a client that vanishes leaves no profiler on, nor does a hub", "the hub is killed",
		[]string{"hub: TestClientThatVanishesLeavesNothingOn", "hub: TestHubVanishesAndTheRanksStopThemselves",
			"hub: TestRankThatIsBackAfterItsSessionIsTurnedOff"}},
	{"a stop ends the recording at once; requests are served while artifacts are made", "stopping, converting",
		[]string{"hub: TestConversionsQueueWhileTheNextSessionRecords", "omni: TestFiftyStartsAndStopsUnderLoad",
			"web: TestStopWhileTheSessionBeforeIsMade"}},
	{"nothing is ever overwritten", "all", []string{"store: TestNothingIsOverwritten"}},
}

// evidence writes the claims as a table.
func evidence(w io.Writer) {
	fmt.Fprint(w, "\n## What holds each promise\n| promise of the README | struck in the table | tests |\n|---|---|---|\n")
	for _, c := range claims {
		cells := c.cells
		if cells == "" {
			cells = "–"
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", c.promise, cells, strings.Join(c.tests, ", "))
	}
}
