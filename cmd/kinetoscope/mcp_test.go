package main

import (
	"bufio"
	"errors"
	"net/http"
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

// Over HTTP an agent shows the token; whoever else reaches the port is told to, and answered nothing.
func TestMCPOverHTTPAsksForItsToken(t *testing.T) {
	self, err := exec.LookPath("kinetoscope")
	if err != nil {
		t.Fatal(err)
	}
	command := func(given string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), self, "mcp", "--root", t.TempDir(), "--http", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), mcpTokenEnv+"="+given)
		return cmd
	}
	// In a log it would be for whoever reads that.
	if said, err := command("").CombinedOutput(); err == nil || !strings.Contains(string(said), mcpTokenEnv) ||
		strings.Contains(string(said), "Bearer") {
		t.Errorf("without a terminal and a token: %v, %s", err, said)
	}
	for _, given := range []string{"", "a-token-of-this-test"} {
		cmd := command(given)
		says := onTerminal(t, cmd)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var url, token string
		for lines := bufio.NewScanner(says); token == "" && lines.Scan(); {
			line := strings.TrimSpace(lines.Text())
			if _, rest, ok := strings.Cut(line, "served at "); ok {
				url = rest
			}
			_, token, _ = strings.Cut(line, "Bearer ")
		}
		if given != "" {
			if strings.Contains(token, given) {
				t.Error("the token that was given is repeated")
			}
			token = given
		}
		for _, wrong := range []string{"", "Bearer wrong", "Basic " + token, "Bearer"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", wrong)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("with %q: %s", wrong, answer.Status)
			}
		}
		c, err := mcp.NewClient(&mcp.Implementation{Name: "test"}, nil).Connect(t.Context(),
			&mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: bearer(token)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := c.ListTools(t.Context(), nil); err != nil || len(list.Tools) == 0 {
			t.Errorf("%+v, %v", list, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
			t.Log("the server was interrupted:", err)
		}
	}
}

// bearer shows a token with each request.
type bearer string

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}
