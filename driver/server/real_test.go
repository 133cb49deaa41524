package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Files that real engines wrote, where they are at hand, are sorted to their ranks and
// known to be whole.
func TestFilesOfRealEngines(t *testing.T) {
	src := filepath.Join("..", "..", "..", "shared", "engine-traces")
	if _, err := os.Stat(src); err != nil {
		t.Skip("no traces of real engines beside the repository")
	}
	const session = "01M84JPGKD1F6DJP5AGT4TD8KA"
	for _, tt := range []struct {
		engine protocol.Engine
		files  map[string]string // as it is there: as the server would name it
		ranks  []string
	}{
		{protocol.EngineVLLM, map[string]string{
			"tp2_rank0.1795910553955826704.pt.trace.json.gz": session +
				"_rank0.1795910553955826704.pt.trace.json.gz",
			"tp2_rank1.1795910553859956635.pt.trace.json.gz": session +
				"_rank1.1795910553859956635.pt.trace.json.gz",
			"max4_vm_26277.async_llm.1795910569599746071.pt.trace.json.gz": session +
				"_vm_26277.async_llm.1795910569599746071.pt.trace.json.gz",
			"max4_rank0.profiler_out.txt": session + "_rank0.profiler_out.txt",
		}, []string{"frontend.json.gz profiler_out.txt trace.json.gz", "trace.json.gz"}},
		{protocol.EngineSGLang, map[string]string{
			"n3-1795910743.6316917-TP-0.trace.json.gz": "1795910743.6316917-TP-0.trace.json.gz",
			"merged-mrg.trace.json.gz":                 "merged-mrg.trace.json.gz",
		}, []string{"trace.json.gz"}},
		{protocol.EngineSGLang, map[string]string{
			"bystage-kid7-TP-0-EXTEND.trace.json.gz": "bystage-kid7-TP-0-EXTEND.trace.json.gz",
			"bystage-kid7-TP-0-DECODE.trace.json.gz": "bystage-kid7-TP-0-DECODE.trace.json.gz",
		}, []string{"trace_decode.json.gz trace_extend.json.gz"}},
	} {
		dir := t.TempDir()
		for from, to := range tt.files {
			b, err := os.ReadFile(filepath.Join(src, from))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, to), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d := &Driver{e: engines[tt.engine], rank: id, log: slog.New(slog.DiscardHandler), time: quick}
		facts := Facts{Prefix: tt.engine == protocol.EngineVLLM}
		if tt.engine == protocol.EngineSGLang {
			facts.TP, facts.PP = 1, 1
		}
		at, err := openFolder(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer at.close()
		c := &capture{d: d, dir: dir, folder: at, tag: session, job: driver.Job{Session: session},
			round: round{facts: facts}}
		if tt.engine == protocol.EngineSGLang {
			c.own = dir
		}
		if !c.find().complete() {
			t.Errorf("%s: what is there is not all: %+v", tt.engine, c.find().files)
		}
		got, err := c.judge(nil)
		if err != nil || got.Failed != "" || got.Events == 0 {
			t.Fatalf("%s: %+v, %v", tt.engine, got, err)
		}
		have := []string{names(got.Files)}
		for _, o := range got.Others {
			have = append(have, names(o.Files))
		}
		if len(have) != len(tt.ranks) {
			t.Fatalf("%s: %q", tt.engine, have)
		}
		for k, want := range tt.ranks {
			if have[k] != want {
				t.Errorf("%s rank %d: %q, want %q", tt.engine, k, have[k], want)
			}
		}
	}
}
