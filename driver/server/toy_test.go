package server

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
)

func init() { testServers["toy-serve"] = servertest.VLLM }

// An engine is one file: targets name it, doctor examines it, and the suite of every driver holds
// for it (TestSuite).
func TestToyEngine(t *testing.T) {
	dir := t.TempDir()
	web := httptest.NewServer(servertest.VLLM(dir, servertest.Quirks{Ranks: 2}))
	defer web.Close()
	to, err := ParseTarget(strings.Replace(web.URL, "http://", "toy-serve://", 1) + "?ranks=2&dir=" + dir)
	if err != nil {
		t.Fatal(err)
	}
	if to.Stage != "toy-serve" || !strings.Contains(Schemes(), "toy-serve") {
		t.Errorf("stage %q; targets begin with %s", to.Stage, Schemes())
	}
	for _, c := range Examine(t.Context(), to) {
		if c.Verdict == Failing {
			t.Errorf("doctor: %s: %s", c.Name, c.Says)
		}
	}
	web.Config.Handler = servertest.VLLM(dir, servertest.Quirks{NoRoutes: true})
	failed := false
	for _, c := range Examine(t.Context(), to) {
		failed = failed || c.Verdict == Failing && strings.Contains(c.Says+c.Mend, "--profile")
	}
	if !failed {
		t.Error("doctor does not say how a server without a profiler is mended")
	}
}

// docs/extending.md shows the engine as it is.
func TestExtendingShowsTheToyEngine(t *testing.T) {
	doc, err := os.ReadFile("../../docs/extending.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("toy_engine_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "```go\n"+string(code)+"```\n") {
		t.Error("docs/extending.md does not show driver/server/toy_engine_test.go as it is")
	}
}
