package hub

import (
	"context"
	"fmt"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

const (
	// clockMoved is by how much two measurements of a rank's clock may differ beyond their
	// errors before the clock was set in between: no oscillator drifts so far in the
	// seconds that lie between them.
	clockMoved = 10 * time.Millisecond
	// instantSlack is how far a recording may begin from the agreed instant before that is
	// told: a busy machine's scheduling, many times over.
	instantSlack = time.Second
)

// start begins a rank's recording at the agreed instant. The rank waits for it by its wall
// clock, so that is measured at both ends: again right before, for it may have been set
// since the arming, and after, for it may have been set meanwhile.
func (r *runner) start(a session.Action) (session.Event, error) {
	ctx, cancel := context.WithDeadline(r.actx, a.Deadline)
	defer cancel()
	armed := r.clockOf(a.Rank)
	agreed := a.AtNs + armed.OffsetNs
	clock, err := r.again(ctx, a.Rank, armed)
	if err != nil {
		return nil, err
	}
	if clock != armed {
		r.remarkOn(a.Rank, fmt.Sprintf("its wall clock was set by %v after it was armed and was measured again",
			moved(armed, clock)))
	}
	var s protocol.RankStatus
	if err := r.ask(ctx, a, protocol.MethodStart, protocol.BeginRequest{Session: r.id, AtNs: agreed - clock.OffsetNs},
		&s); err != nil {
		return nil, err
	}
	after, err := r.again(ctx, a.Rank, clock)
	if err == nil && after != clock {
		by := moved(clock, after)
		// The start of the recording shows which of the two clocks it was made by.
		if began := s.StartedAtNs; began != 0 && abs(began+after.OffsetNs-agreed) < abs(began+clock.OffsetNs-agreed) {
			clock = after
		}
		r.remarkOn(a.Rank,
			fmt.Sprintf(
				"its wall clock was set by %v while it began; its times go by the clock in which it began on time", by))
	}
	r.checkInstant(a.Rank, s, agreed, clock)
	r.remember(a.Rank, clock)
	return session.Started{Rank: a.Rank, Status: s, Clock: &clock}, nil
}

// checkInstant compares the beginning of a recording with the agreed instant. A schedule
// and a look back begin when they do.
func (r *runner) checkInstant(id protocol.RankID, s protocol.RankStatus, agreed int64, clock protocol.ClockError) {
	cfg := r.incs[id].Config
	if s.StartedAtNs == 0 || cfg.DelayIterations > 0 || cfg.WaitIterations > 0 || cfg.WarmupIterations > 0 ||
		r.m.Config().Last > 0 {
		return
	}
	off := time.Duration(s.StartedAtNs + clock.OffsetNs - agreed)
	slack := instantSlack + time.Duration(clock.ErrorNs)
	if e, err := r.h.reg.alive(id, ""); err == nil { // a profiler that needs time to begin announces how much
		if info, ok := r.h.reg.info(e); ok && off > 0 {
			slack += time.Duration(info.LeadNs)
		}
	}
	switch soFar := time.Duration(r.h.now().UnixNano() - agreed); {
	case off > slack && off <= soFar: // it was held up, and its clock is as good as it was measured
		r.remarkOn(id, fmt.Sprintf("it began %v after the agreed instant: what it did until then is not recorded",
			off.Round(time.Millisecond)))
	case off.Abs() > slack:
		r.remarkOn(id, fmt.Sprintf("it says that it began %v from the agreed instant: its clock is in doubt",
			off.Round(time.Millisecond)))
	}
}

// again measures a rank's clock once more and returns was if it has not been set since.
func (r *runner) again(ctx context.Context, id protocol.RankID, was protocol.ClockError) (protocol.ClockError, error) {
	inc := r.incs[id].Incarnation
	one, err := r.h.probe(ctx, id, inc)
	if err != nil {
		return was, err
	}
	if time.Duration(one.OffsetNs-was.OffsetNs).Abs() <= clockMoved+time.Duration(one.ErrorNs+was.ErrorNs) {
		return was, nil
	}
	return r.h.probeClock(ctx, id, inc)
}

// moved is how far a rank's clock was set forward between two measurements.
func moved(from, to protocol.ClockError) time.Duration {
	return time.Duration(from.OffsetNs - to.OffsetNs).Round(time.Millisecond)
}

func abs(n int64) int64 { return max(n, -n) }

func (r *runner) remember(id protocol.RankID, c protocol.ClockError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clocks[id] = c
}

func (r *runner) clockOf(id protocol.RankID) protocol.ClockError {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clocks[id]
}

// remarkOn has something stand in a rank's reason, however it ends.
func (r *runner) remarkOn(id protocol.RankID, what string) {
	r.h.log.Warn("session", "session", r.id, "rank", id.Key(), "what", what)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remarks[id] = joinReasons(r.remarks[id], what)
}

func (r *runner) remark(id protocol.RankID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remarks[id]
}
