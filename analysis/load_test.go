package analysis

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// loadShared reads a shared Kineto sample by name, or skips the test.
func loadShared(t testing.TB, name string) *trace.Trace {
	t.Helper()
	path := filepath.Join("..", "..", "shared", "traces", name+".json.gz")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("shared traces are not here: %v", err)
	}
	tr, err := kineto.ReadFile(context.Background(), path, kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}
