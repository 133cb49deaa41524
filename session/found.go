package session

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// found adds ranks that another rank also recorded and that were unknown before their files
// existed. They are already complete with their artifacts, or failed. The rank that stands for them
// cannot speak for others: ranks that the session already has, and ranks of other stages, are not
// changed.
func (m *Machine) found(by protocol.RankID, others []protocol.RankStatus) {
	r := m.rank(by)
	if r == nil || !r.Status.State.Terminal() {
		return
	}
	target := r.Target
	clock := r.Status.Clock
	for _, o := range others {
		if o.Pipeline != by.Pipeline || o.Stage != by.Stage || o.Validate() != nil || m.rank(o.RankID) != nil {
			continue
		}
		t := target
		t.RankID = o.RankID
		o.StageName, o.Session, o.Clock = t.StageName, m.s.ID, clock // one process measured for all
		o.Held, o.Others = nil, nil
		switch {
		case len(o.Artifacts) > 0 && o.State == protocol.StateFailed && o.Reason != "": // its files are damaged
		case len(o.Artifacts) > 0:
			o.State = protocol.StateComplete
		default:
			o.State = protocol.StateFailed
			if o.Reason == "" {
				o.Reason = "it left no file"
			}
		}
		m.s.Ranks = append(m.s.Ranks, RankRecord{Target: t, Status: o})
	}
	slices.SortFunc(m.s.Ranks, func(a, b RankRecord) int { return a.Target.Compare(b.Target.RankID) })
}
