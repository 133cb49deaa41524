package chrome

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kinetoscope/kinetoscope/trace"
)

// ownKeys are written from the trace's columns and Meta; Meta.Extra cannot replace them.
var ownKeys = map[string]bool{
	"schemaVersion": true, "deviceProperties": true, "distributedInfo": true,
	"displayTimeUnit": true, "baseTimeNanoseconds": true, "traceEvents": true, "traceName": true,
	"stage_id": true, "stage": true, "replica": true, "host_name": true,
}

// header writes everything before traceEvents.
func (e *encoder) header() {
	m := &e.t.Meta
	b := []byte("{\n  \"schemaVersion\": 1,\n")
	b = appendMember(b, "deviceProperties", deviceProperties(m.Devices))
	for _, k := range slices.Sorted(maps.Keys(m.Extra)) {
		if raw := jsontext.Value(m.Extra[k]); !ownKeys[k] && raw.IsValid() {
			b = appendMember(b, k, raw)
		}
	}
	if m.Host != "" {
		b = appendMember(b, "host_name", appendQuoted(nil, m.Host))
	}
	if m.StageID >= 0 && m.Stage != "" {
		b = appendMember(b, "stage_id", strconv.AppendInt(nil, int64(m.StageID), 10))
		b = appendMember(b, "stage", appendQuoted(nil, m.Stage))
		b = appendMember(b, "replica", strconv.AppendInt(nil, int64(m.Replica), 10))
	}
	if info := distributedInfo(m); info != nil {
		b = appendMember(b, "distributedInfo", info)
	}
	b = appendMember(b, "displayTimeUnit", []byte(`"ms"`))
	if m.WallClock {
		b = appendMember(b, "baseTimeNanoseconds", strconv.AppendInt(nil, e.base, 10))
	}
	e.write(b)
}

func (e *encoder) footer(name string) {
	b := []byte{}
	if name != "" {
		b = append(b, ",\n  \"traceName\": "...)
		b = appendQuoted(b, name)
	}
	e.write(append(b, "\n}\n"...))
}

func appendMember(b []byte, key string, raw []byte) []byte {
	b = append(b, "  "...)
	b = appendQuoted(b, key)
	b = append(b, ": "...)
	b = append(b, raw...)
	return append(b, ",\n"...)
}

func deviceProperties(devices []trace.Device) []byte {
	b := []byte{'['}
	for i, d := range devices {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "\n    {\"id\": %d, \"name\": ", d.ID)
		b = appendQuoted(b, d.Name)
		b = fmt.Appendf(b, ", \"totalGlobalMem\": %d, \"numSms\": %d}", d.TotalMemory, d.SMs)
	}
	if len(devices) > 0 {
		b = append(b, "\n  "...)
	}
	return append(b, ']')
}

// info and group have the spelling and order of Kineto's distributedInfo.
type info struct {
	Backend   string  `json:"backend,omitempty"`
	Rank      int     `json:"rank"`
	WorldSize int     `json:"world_size,omitempty"`
	PGCount   int     `json:"pg_count"`
	PGConfig  []group `json:"pg_config"`
}

type group struct {
	Name    string `json:"pg_name"`
	Desc    string `json:"pg_desc"`
	Backend string `json:"backend_config"`
	Size    int    `json:"pg_size"`
	Ranks   []int  `json:"ranks"`
}

// distributedInfo returns the object, or nil if the rank is not known.
func distributedInfo(m *trace.Meta) []byte {
	if m.Rank < 0 {
		return nil
	}
	out := info{Backend: m.Backend, Rank: m.Rank, WorldSize: m.WorldSize, PGCount: len(m.ProcessGroups), PGConfig: []group{}}
	for _, g := range m.ProcessGroups {
		ranks := g.Ranks
		if ranks == nil {
			ranks = []int{}
		}
		out.PGConfig = append(out.PGConfig, group{g.Name, g.Desc, g.Backend, g.Size, ranks})
	}
	// One member a line, ": " after keys: HTA looks for `"rank": n` in the text.
	raw, err := json.MarshalIndent(out, "  ", "  ")
	if err != nil {
		return nil // cannot happen: the struct holds texts and integers only
	}
	return raw
}
