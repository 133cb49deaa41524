package hub

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// What a recording in a spool says of its rank becomes part of a manifest: names alone are taken, and text.
func TestWhatARecordingSaysOfItsRankIsText(t *testing.T) {
	for _, tt := range []struct{ stage, host, wantStage, wantHost string }{
		{"talker", "box", "talker", "box"},
		{"../../\x1b[2J<b>", "h\x1b]0;x\u202e", "stage1", "h ]0;x "},
		{"a\nb", strings.Repeat("h", protocol.MaxHost+1), "stage1", ""},
	} {
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, "stage1_replica0_rank0.ksrec"))
		if err != nil {
			t.Fatal(err)
		}
		rec := profiler.New(profiler.Config{Process: "p"})
		if err := rec.Start(profiler.StartOptions{Out: f, Meta: map[string]string{protocol.MetaStage: tt.stage,
			protocol.MetaHost: tt.host, protocol.MetaPipeline: "x\ny"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := rec.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := parseSpooled("stage1_replica0_rank0.ksrec")
		if !ok {
			t.Fatal("the file's name is not read")
		}
		introduce(&got, root, "stage1_replica0_rank0.ksrec")
		if err := root.Close(); err != nil {
			t.Fatal(err)
		}
		if got.StageName != tt.wantStage || got.Host != tt.wantHost || got.Pipeline != "recovered" {
			t.Errorf("%q: %q, %q, %q", tt.stage, got.StageName, got.Host, got.Pipeline)
		}
	}
}
