package kineto

import (
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ids"
)

// globalLane identifies a track of the trace. Text pids and tids are kept as text.
type globalLane struct {
	pid, tid         int64
	pidText, tidText string
	isText           uint8 // bit 0 pid, bit 1 tid: tells "" from none
	dev, stream      int64
	kind             trace.TrackKind
}

// process is the part of a lane that metadata rows of a process name.
type process struct {
	pid  int64
	text string
	is   bool
}

func (g *globalLane) process() process {
	return process{g.pid, g.pidText, g.isText&1 != 0}
}

// resolve fills in the pid and tid of k, with texts for r's numbers.
func (j *joiner) resolve(k laneKey) globalLane {
	g := globalLane{pid: k.pid.n, tid: k.tid.n, dev: -1, stream: -1}
	if k.pid.text {
		g.pid, g.pidText, g.isText = 0, plainText(j.r.texts[k.pid.n]), 1
	}
	if k.tid.text {
		g.tid, g.tidText, g.isText = 0, plainText(j.r.texts[k.tid.n]), g.isText|2
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
	switch {
	case k.kind == laneGPU:
		g.kind = trace.TrackGPU
		g.dev, g.stream = deviceLane(k, &g)
	case g.isText&1 != 0 && (g.pidText == "Spans" || g.pidText == "Traces" || g.pidText == ""),
		g.isText&1 == 0 && g.pid == -1:
		g.kind = trace.TrackOther
	}
	t := j.m.trackOf(g)
	j.tm.tracks[id] = uint32(t) + 1
	return t
}

// deviceLane returns the device and stream of a device's lane: what the arguments
// say, else what pid and tid say.
func deviceLane(k laneKey, g *globalLane) (dev, stream int64) {
	dev, stream = k.dev, k.stream
	if dev == noLane {
		dev = g.pid
		if g.isText&1 != 0 {
			dev = -1
		}
	}
	if stream == noLane {
		switch n, err := strconv.ParseInt(strings.TrimPrefix(g.tidText, "stream "), 10, 64); {
		case g.isText&2 == 0 && g.tid >= streamSyncOffset && g.pid >= 0 && g.tid < 2*streamSyncOffset:
			stream = g.tid - streamSyncOffset
		case g.isText&2 == 0:
			stream = g.tid
		case err == nil:
			stream = n
		default:
			stream = -1
		}
	}
	return dev, stream
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
	k := trace.Track{Kind: g.kind, PID: g.pid, TID: g.tid, PIDText: g.pidText, TIDText: g.tidText, Device: g.dev,
		Stream: g.stream}
	if g.isText&1 != 0 {
		k.PID = m.standIn(g.pidText)
	}
	if g.isText&2 != 0 {
		k.TID = m.standIn(g.tidText)
	}
	id := m.t.AddTrack(k)
	return id
}

// standIn returns the number that stands for a text pid or tid; equal texts have
// equal numbers.
func (m *merger) standIn(text string) int64 {
	return textLane - int64(m.t.Intern(text))
}

// pidTid is a lane regardless of its kind.
type pidTid struct {
	pid, tid         int64
	pidText, tidText string
	isText           uint8
}

func (p *pidTid) hash() uint64 {
	h := ids.Mix(ids.Mix(uint64(p.isText), p.pid), p.tid)
	if p.isText != 0 {
		h = ids.Mix(ids.Mix(h, int64(ids.OfText(p.pidText))), int64(ids.OfText(p.tidText)))
	}
	return h
}

func (g *globalLane) hash() uint64 {
	p := g.pidTid()
	return ids.Mix(ids.Mix(ids.Mix(p.hash(), g.dev), g.stream), int64(g.kind))
}

func (g *globalLane) pidTid() pidTid {
	return pidTid{g.pid, g.tid, g.pidText, g.tidText, g.isText}
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
	k := g.pidTid()
	id, added := l.ids.Number(k, k.hash())
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
		k := lanes[t].pidTid()
		if n, ok := l.ids.Find(k, k.hash()); ok {
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
	if g.isText&1 != 0 && (g.pidText == "Spans" || g.pidText == "Traces" || g.pidText == "") {
		g.kind = trace.TrackOther
	}
	return g
}
