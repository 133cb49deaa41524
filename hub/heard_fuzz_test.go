package hub

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/protocol"
)

var fuzzed = protocol.RankID{Pipeline: "omni", Stage: 1, Rank: 2}

// commands returns a text in v that a terminal would obey, "" if there is none.
func commands(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		if strings.ContainsFunc(v.String(), neutral.Command) {
			return v.String()
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if s := commands(v.Field(i)); s != "" {
				return s
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if s := commands(v.Index(i)); s != "" {
				return s
			}
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			if s := commands(k) + commands(v.MapIndex(k)); s != "" {
				return s
			}
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return commands(v.Elem())
		}
	}
	return ""
}

func seed(f *testing.F, values ...any) {
	f.Helper()
	for _, v := range values {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzPresence takes presences that no rank of ours wrote: one that is taken is of its key, and text.
func FuzzPresence(f *testing.F) {
	seed(f, protocol.RankInfo{RankID: fuzzed, Incarnation: "i", Protocol: protocol.Version, StageName: "talker",
		Host: "h", PID: 7, SpoolDir: "/s", Ready: true, WorldSize: 4},
		protocol.RankInfo{RankID: fuzzed, Protocol: protocol.Version, StageName: "\x1b[31m"}, "text", []int{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := readPresence(fuzzed, data)
		if err != nil {
			return
		}
		if s := commands(reflect.ValueOf(info)); s != "" || info.RankID != fuzzed {
			t.Errorf("%q of %s is taken", s, info.Key())
		}
	})
}

// FuzzReply takes answers that no rank of ours gave to each method whose answer is looked into, and events.
func FuzzReply(f *testing.F) {
	status := protocol.RankStatus{RankID: fuzzed, State: protocol.StateFailed, Reason: "\x1b[31m", Session: "s",
		Artifacts: []protocol.Artifact{{Name: "trace.json.gz", Kind: protocol.KindTrace, Parts: 2}},
		Others:    []protocol.RankStatus{{RankID: fuzzed}}}
	seed(f, status, protocol.CallReply{Error: "\u202e", Result: map[string]any{"a\x1b": []any{"\u009b", 1.5, nil}}},
		protocol.ClockReply{T2: 1, T3: -1}, map[string]any{"stage": 1e300}, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		for method, out := range map[protocol.Method]any{protocol.MethodStatus: new(protocol.RankStatus),
			protocol.MethodCall: new(protocol.CallReply), protocol.MethodClock: new(protocol.ClockReply)} {
			if readReply(fuzzed, method, data, out) != nil {
				continue
			}
			if s := commands(reflect.ValueOf(out)); s != "" {
				t.Errorf("%q in an answer to %s is taken", s, method)
			}
			if s, ok := out.(*protocol.RankStatus); ok {
				for _, a := range s.Artifacts {
					if base, ext := splitName(a.Name); strings.ContainsAny(base+ext, `/\`) {
						t.Errorf("file %q is taken", a.Name)
					}
				}
			}
		}
		if s, err := readEvent(fuzzed.EventSubject(), data); err == nil && commands(reflect.ValueOf(s)) != "" {
			t.Errorf("%q in an event is taken", commands(reflect.ValueOf(s)))
		}
	})
}
