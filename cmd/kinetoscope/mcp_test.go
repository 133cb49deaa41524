package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// An agent speaks to the program itself over its standard input and output.
func TestMCP(t *testing.T) {
	self, err := exec.LookPath("kinetoscope") // testscript puts this very program there
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "t.json"), []byte(`{"traceEvents": [
 {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 1000, "dur": 50}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "mcp", "--root", dir)
	c, err := mcp.NewClient(&mcp.Implementation{Name: "test"}, nil).Connect(t.Context(),
		&mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: "ops",
		Arguments: map[string]any{"paths": []string{"t.json"}}})
	if err != nil {
		t.Fatal(err)
	}
	if text := r.Content[0].(*mcp.TextContent).Text; r.IsError || !strings.Contains(text, "aten::mm") {
		t.Error(text)
	}
	if err := c.Close(); err != nil {
		t.Error("the program did not end well:", err)
	}
}
