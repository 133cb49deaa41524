// Package made says on which cards and with which versions captures were made, as far as their
// traces tell. Captures that differ in this can be compared only with care.
package made

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// Made is what traces say of the cards and programs that they were recorded on.
type Made struct {
	Cards    []string `json:"cards"`    // "2 × NVIDIA H200", sorted; empty if the traces name none
	Versions []string `json:"versions"` // "cuda runtime 12080", "vllm 0.32.0", sorted; empty if none is named
}

// maxVersion bounds the text of one version in bytes; a longer text is not taken for one.
const maxVersion = 80

// Of summarises the traces of one capture. Devices with the same host and number are one card,
// whatever the number of ranks that saw it. Traces may be nil.
func Of(traces ...*trace.Trace) Made {
	type card struct {
		host string
		id   int
	}
	names := map[card]string{}
	out := Made{Cards: []string{}, Versions: []string{}}
	for _, t := range traces {
		if t == nil { // a rank without a trace
			continue
		}
		for _, d := range t.Meta.Devices {
			if d.Name != "" {
				names[card{t.Meta.Host, d.ID}] = d.Name
			}
		}
		for key, raw := range t.Meta.Extra {
			if v := version(key, raw); v != "" {
				out.Versions = append(out.Versions, v)
			}
		}
	}
	counts := map[string]int{}
	for _, n := range names {
		counts[n]++
	}
	for n, k := range counts {
		out.Cards = append(out.Cards, units.Times(k, n))
	}
	slices.Sort(out.Cards)
	slices.Sort(out.Versions)
	out.Versions = slices.Compact(out.Versions)
	return out
}

// version returns the version of a program from a top-level key of a trace: a text, a number, or a
// list of its parts. It is "" for other keys.
func version(key, raw string) string {
	name, ok := strings.CutSuffix(key, "_version")
	if !ok {
		name, ok = strings.CutSuffix(key, "_version_tuple")
	}
	if !ok || name == "" {
		return ""
	}
	var v any
	d := json.NewDecoder(strings.NewReader(raw))
	d.UseNumber() // a driver's 12080 has no exponent
	if err := d.Decode(&v); err != nil {
		return ""
	}
	text := ""
	switch v := v.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case []any:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = fmt.Sprint(p)
		}
		text = strings.Join(parts, ".")
	}
	if text == "" || len(text) > maxVersion {
		return ""
	}
	return strings.ReplaceAll(name, "_", " ") + " " + text
}
