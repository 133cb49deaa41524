package native

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Keys of Meta.Extra of a native trace, beside those of the recording's header.
const (
	ExtraTruncated = "truncated" // object: offset, bytes, reason of the cut
	// array of objects: offset, bytes, from and to (ns), reason of a piece that is missing
	ExtraDamaged = "damaged"
	ExtraDropped = "dropped_events" // events lost because a buffer was full
	ExtraPID     = "pid"
	ExtraClock   = "clock" // what times were read from, and its resolution
)

func (b *builder) meta() trace.Meta {
	h := b.h
	m := trace.Meta{
		Format: Format, WallClock: true, Rank: number(h.Meta, protocol.MetaRank, -1),
		StageID:   number(h.Meta, protocol.MetaStageID, -1),
		WorldSize: max(0, number(h.Meta, protocol.MetaWorldSize, 0)),
		Replica:   max(0, number(h.Meta, protocol.MetaReplica, 0)),
		Stage:     h.Meta[protocol.MetaStage], Host: h.Meta[protocol.MetaHost], Backend: h.Meta[protocol.MetaBackend],
		WindowStart: h.Start, WindowEnd: max(b.last, h.Start), Extra: map[string]string{},
	}
	if end := b.rd.End(); end != nil {
		m.WindowEnd = max(end.Time, h.Start)
		if end.Drops > 0 {
			m.Extra[ExtraDropped] = strconv.FormatUint(end.Drops, 10)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(h.Meta)) {
		switch k {
		case protocol.MetaStageID, protocol.MetaStage, protocol.MetaReplica, protocol.MetaRank, protocol.MetaWorldSize,
			protocol.MetaHost, protocol.MetaBackend:
		default:
			m.Extra[k] = string(trace.AppendText(nil, h.Meta[k]))
		}
	}
	for _, o := range []struct {
		key string
		on  bool
	}{{"record_shapes", h.Shapes}, {"with_stack", h.Stacks}, {"with_flops", h.FLOPs}, {"profile_memory", h.Memory}} {
		if o.on {
			m.Extra[o.key] = "1"
		}
	}
	m.Extra[ExtraPID] = strconv.Itoa(h.PID)
	m.Extra[ExtraClock] = string(trace.AppendText(nil, fmt.Sprintf("%s, %d ns", h.Clock, h.ResolutionNs)))
	if cut := b.rd.Cut(); cut != nil {
		b.t.Repairs.Add(trace.RepairTruncatedFile, 1)
		m.Extra[ExtraTruncated] = fmt.Sprintf(`{"offset": %d, "bytes": %d, "reason": %s}`,
			cut.Offset, cut.Bytes, trace.AppendText(nil, cut.Reason))
	}
	if list := b.rd.Damage(); len(list) > 0 {
		b.t.Repairs.Add(trace.RepairDamagedPiece, len(list))
		text := []byte{'['}
		for i, d := range list {
			if i > 0 {
				text = append(text, ", "...)
			}
			text = fmt.Appendf(text, `{"offset": %d, "bytes": %d, "from_ns": %d, "to_ns": %d, "reason": %s}`,
				d.Offset, d.Bytes, d.FromNs, d.ToNs, trace.AppendText(nil, d.Reason))
		}
		m.Extra[ExtraDamaged] = string(append(text, ']'))
	}
	return m
}

func number(meta map[string]string, key string, absent int) int {
	n, err := strconv.Atoi(meta[key])
	if err != nil || n < 0 {
		return absent
	}
	return n
}

// groups returns the communicators that t's collectives name.
func groups(t *trace.Trace) []trace.ProcessGroup {
	seen := map[string]int{}
	for i := range t.Slices.Len() {
		size, ok := t.ArgInt(i, trace.ArgGroupSize)
		if !ok || size <= 0 || size > 1<<20 {
			continue
		}
		name, _ := t.ArgText(i, trace.ArgGroupName)
		seen[name] = int(size)
	}
	var out []trace.ProcessGroup
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		g := trace.ProcessGroup{Name: name, Desc: name, Backend: t.Meta.Backend, Size: seen[name]}
		for r := range g.Size {
			g.Ranks = append(g.Ranks, r)
		}
		out = append(out, g)
	}
	return out
}
