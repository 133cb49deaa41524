package omni

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// wantMemoryTimelines is wantMemoryTimeline of every rank.
func wantMemoryTimelines(t *testing.T, st *session.Status) {
	t.Helper()
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			wantMemoryTimeline(t, st, s.Name, r)
		}
	}
}

// wantMemoryTimeline fails the test unless a rank left its memory over time, as numbers
// and as a picture, and the numbers show what its stage allocates in.
func wantMemoryTimeline(t *testing.T, st *session.Status, stage string, r protocol.RankStatus) {
	t.Helper()
	llm := []analysis.HeldBy{analysis.HeldPrefill, analysis.HeldDecodeStep} // a few iterations may be of one kind
	regions := map[string][]analysis.HeldBy{"thinker": llm, "talker": llm, "decoder": llm,
		"code2wav":     {analysis.HeldVocode},
		"text_encoder": {analysis.HeldTextEncode}, "dit": {analysis.HeldDenoiseStep},
		"vae": {analysis.HeldVAEDecode}}[stage]
	left := map[string]string{} // path by extension
	for _, a := range r.Artifacts {
		if _, ext, ok := strings.Cut(path.Base(a.Name), "."); ok &&
			strings.HasPrefix(path.Base(a.Name), "memory_timeline_") {
			left[ext] = filepath.Join(st.RunDir, filepath.FromSlash(a.Name))
		}
	}
	f, err := os.Open(left["json.gz"])
	if err != nil {
		t.Errorf("%s rank %d left no memory timeline: %v", stage, r.Rank, r.Artifacts)
		return
	}
	defer f.Close()
	var m analysis.MemoryTimeline
	z, err := gzip.NewReader(f)
	if err == nil {
		err = json.NewDecoder(z).Decode(&m)
	}
	if err != nil || m.SchemaVersion != analysis.MemoryTimelineSchema || m.Stage != stage || m.Rank != r.Rank ||
		len(m.Devices) == 0 {
		t.Fatalf("%s rank %d: memory timeline %+v, %v", stage, r.Rank, m, err)
	}
	found := false
	for _, d := range m.Devices {
		for k, total := range d.TotalBytes {
			for _, c := range d.Categories {
				total -= c.Bytes[k]
				found = found || slices.Contains(regions, c.HeldBy)
			}
			if total != 0 {
				t.Fatalf("%s rank %d, %s: at point %d the categories miss %d bytes", stage, r.Rank, d.Device, k, total)
			}
		}
	}
	if !found {
		t.Errorf("%s rank %d: nothing was allocated in %v", stage, r.Rank, regions)
	}
	if b, err := os.ReadFile(left["svg"]); err != nil || !bytes.Contains(b, []byte("</svg>")) {
		t.Errorf("%s rank %d: picture of the memory: %v", stage, r.Rank, err)
	}
}
