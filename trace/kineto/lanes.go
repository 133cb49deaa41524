package kineto

import (
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ids"
)

// globalLane identifies a track of the trace. It has no pointers: a file may have a lane for each
// event, and the garbage collector need not look at them.
type globalLane struct {
	pidTid
	dev, stream int64
	kind        trace.TrackKind
}

// pidTid is a lane regardless of its kind. For a text its standIn is kept.
type pidTid struct {
	pid, tid         int64
	textPID, textTID bool
}

// process is the part of a lane that metadata rows of a process name.
type process struct {
	pid  int64
	text bool
}

func (p *pidTid) process() process { return process{p.pid, p.textPID} }

// resolve fills in the pid and tid of k, with stand-ins for r's texts.
func (j *joiner) resolve(k laneKey) globalLane {
	g := globalLane{pidTid: pidTid{pid: k.pid.n, tid: k.tid.n}, dev: -1, stream: -1}
	if k.pid.text {
		g.pid, g.textPID = j.m.standIn(plainText(j.r.texts[k.pid.n])), true
	}
	if k.tid.text {
		g.tid, g.textTID = j.m.standIn(plainText(j.r.texts[k.tid.n])), true
	}
	return g
}

// track returns the track of a definite lane of the result.
func (j *joiner) track(id uint32) trace.TrackID {
	if g := j.tm.tracks[id]; g > 0 {
		return trace.TrackID(g - 1)
	}
	k := j.r.lanes[id]
	g := j.resolve(k)
	if k.kind == laneGPU {
		g.kind = trace.TrackGPU
		g.dev, g.stream = j.m.deviceLane(k, &g.pidTid)
	} else if j.m.aside(&g.pidTid) || !g.textPID && g.pid == -1 {
		g.kind = trace.TrackOther
	}
	t := j.m.trackOf(g)
	j.tm.tracks[id] = uint32(t) + 1
	return t
}

// aside reports whether a lane is of those that torch writes beside its threads and streams.
func (m *merger) aside(p *pidTid) bool {
	if !p.textPID {
		return false
	}
	text := m.textOf(p.pid)
	return text == "Spans" || text == "Traces" || text == ""
}

// deviceLane returns the device and stream of a device's lane: what the arguments
// say, else what pid and tid say.
func (m *merger) deviceLane(k laneKey, p *pidTid) (dev, stream int64) {
	dev, stream = k.dev, k.stream
	if dev == noLane {
		dev = p.pid
		if p.textPID {
			dev = -1
		}
	}
	if stream != noLane {
		return dev, stream
	}
	if p.textTID {
		n, err := strconv.ParseInt(strings.TrimPrefix(m.textOf(p.tid), "stream "), 10, 64)
		if err != nil {
			n = -1
		}
		return dev, n
	}
	if p.tid >= streamSyncOffset && (p.pid >= 0 || p.textPID) && p.tid < 2*streamSyncOffset {
		return dev, p.tid - streamSyncOffset
	}
	return dev, p.tid
}

// textLane is the first of the negative numbers that stand in for text pids and tids.
// It is far from the ids of any system.
const textLane = -1 << 40

// trackOf returns the track of g, adding it if it is new.
func (m *merger) trackOf(g globalLane) trace.TrackID {
	n, added := m.lanes.Number(g, g.hash())
	if !added {
		return trace.TrackID(n)
	}
	k := trace.Track{Kind: g.kind, PID: g.pid, TID: g.tid, Device: g.dev, Stream: g.stream}
	if g.textPID {
		k.PIDText = m.textOf(g.pid)
	}
	if g.textTID {
		k.TIDText = m.textOf(g.tid)
	}
	m.t.Tracks = lists.Doubled(m.t.Tracks)
	return m.t.AddTrack(k)
}

// standIn returns the number that stands for a text pid or tid; equal texts have
// equal numbers.
func (m *merger) standIn(text string) int64 {
	return textLane - int64(m.t.Intern(text))
}

// textOf returns the text that a stand-in stands for.
func (m *merger) textOf(standIn int64) string {
	return m.t.Strings.Get(trace.StringID(textLane - standIn))
}

func (p *pidTid) hash() uint64 {
	texts := uint64(0)
	if p.textPID {
		texts = 1
	}
	if p.textTID {
		texts |= 2
	}
	return ids.Mix(ids.Mix(texts, p.pid), p.tid)
}

func (g *globalLane) hash() uint64 {
	return ids.Mix(ids.Mix(ids.Mix(g.pidTid.hash(), g.dev), g.stream), int64(g.kind))
}

// looseLanes are lanes of which only pid and tid are known, with the tracks that
// turned up for them.
type looseLanes struct {
	ids    ids.List[pidTid]
	list   []globalLane // the first of each
	tracks []trackPair
}

// trackPair is the first host's and the first device's track of a pid and tid, +1.
type trackPair struct{ host, device trace.TrackID }

func (l *looseLanes) id(g globalLane) uint32 {
	id, added := l.ids.Number(g.pidTid, g.pidTid.hash())
	if added {
		l.list = append(l.list, g)
		l.tracks = append(l.tracks, trackPair{})
	}
	return id
}

// join finds the tracks of the lanes, which are by trace.TrackID.
func (l *looseLanes) join(lanes []globalLane) {
	if l.ids.Len() == 0 {
		return
	}
	for t := range lanes {
		k := &lanes[t].pidTid
		if n, ok := l.ids.Find(*k, k.hash()); ok {
			l.tracks[n].add(&lanes[t], trace.TrackID(t))
		}
	}
}

func (p *trackPair) add(g *globalLane, t trace.TrackID) {
	if g.kind == trace.TrackGPU {
		if p.device == 0 {
			p.device = t + 1
		}
	} else if p.host == 0 {
		p.host = t + 1
	}
}

func (j *joiner) looseLane(id uint32) uint32 {
	if g := j.tm.loose[id]; g > 0 {
		return g - 1
	}
	g := j.m.loose.id(j.resolve(j.r.lanes[id]))
	j.tm.loose[id] = g + 1
	return g
}

// settle returns the track of a loose lane, preferring the device's or the host's.
func (m *merger) settle(id uint32, device bool) trace.TrackID {
	p := m.loose.tracks[id]
	if device && p.device > 0 || p.host == 0 && p.device > 0 {
		return p.device - 1
	}
	if p.host == 0 {
		g := m.hostLane(id)
		p.add(&g, m.trackOf(g))
		m.loose.tracks[id] = p
	}
	return p.host - 1
}

// hostLane returns the lane of the host for a loose one.
func (m *merger) hostLane(id uint32) globalLane {
	g := m.loose.list[id]
	g.kind, g.dev, g.stream = trace.TrackCPU, -1, -1
	if m.aside(&g.pidTid) {
		g.kind = trace.TrackOther
	}
	return g
}
