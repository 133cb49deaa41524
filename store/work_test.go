package store

import (
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
)

func TestWork(t *testing.T) {
	for list, want := range map[string]string{
		"":                         "",
		"profiler_out_rank0.txt":   "",
		"a/frontend_rank0.json.gz": "a/frontend_rank0.json.gz",
		"a/frontend_rank0.json a/trace_rank0.json.gz a/z_rank0.json": "a/trace_rank0.json.gz",
		"a/trace_rank0.regions.json a/z_rank0.json":                  "a/z_rank0.json",
		"a/trace_rank0.regions.json":                                 "a/trace_rank0.regions.json",
		"a/trace_rank0.json a/recording_rank0.ksrec":                 "a/recording_rank0.ksrec",
	} {
		var arts []protocol.Artifact
		for _, name := range strings.Fields(list) {
			kind := protocol.KindTrace
			switch {
			case strings.HasSuffix(name, protocol.RecordingExt):
				kind = protocol.KindRecording
			case strings.HasSuffix(name, ".txt"):
				kind = protocol.KindTable
			}
			arts = append(arts, protocol.Artifact{Name: name, Kind: kind})
		}
		if got, ok := Work(arts); got.Name != want || ok != (want != "") {
			t.Errorf("%s: %q, want %q", list, got.Name, want)
		}
	}
}
