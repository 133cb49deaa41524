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
}

// header writes everything before traceEvents.
func (e *encoder) header() {
	m := &e.t.Meta
	b := []byte("{\n  \"schemaVersion\": 1,\n")
	b = appendMember(b, "deviceProperties", deviceProperties(m.Devices))
	free := maps.Clone(m.Extra)
	maps.DeleteFunc(free, func(k, raw string) bool { return ownKeys[k] || !jsontext.Value(raw).IsValid() })
	for k, raw := range placeKeys(m) {
		if free == nil {
			free = map[string]string{}
		}
		free[k] = raw
	}
	for _, k := range slices.Sorted(maps.Keys(free)) {
		b = appendMember(b, k, []byte(free[k]))
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

// placeKeys says where the rank is in a pipeline, as raw JSON by key.
func placeKeys(m *trace.Meta) map[string]string {
	out := map[string]string{}
	if m.Host != "" {
		out["host_name"] = string(trace.AppendText(nil, m.Host))
	}
	if m.StageID >= 0 && m.Stage != "" {
		out["stage_id"] = strconv.Itoa(m.StageID)
		out["stage"] = string(trace.AppendText(nil, m.Stage))
		out["replica"] = strconv.Itoa(m.Replica)
	}
	return out
}

func (e *encoder) footer(name string) {
	b := []byte{}
	if name != "" {
		b = append(b, ",\n  \"traceName\": "...)
		b = trace.AppendText(b, name)
	}
	e.write(append(b, "\n}\n"...))
}

func appendMember(b []byte, key string, raw []byte) []byte {
	b = append(b, "  "...)
	b = trace.AppendText(b, key)
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
		b = trace.AppendText(b, d.Name)
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
	Rank      *int    `json:"rank,omitempty"`
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

// distributedInfo returns the object, without rank if that is not known, or nil if
// nothing is.
func distributedInfo(m *trace.Meta) []byte {
	if m.Rank < 0 && m.Backend == "" && len(m.ProcessGroups) == 0 {
		return nil
	}
	var rank *int
	if m.Rank >= 0 {
		rank = &m.Rank
	}
	out := info{Backend: m.Backend, Rank: rank, WorldSize: m.WorldSize, PGCount: len(m.ProcessGroups),
		PGConfig: []group{}}
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
