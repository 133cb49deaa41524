package multihost

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/session"
)

// programs holds what was built, until the tests have ended.
var programs struct {
	mu   sync.Mutex
	dir  string
	path map[string]string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programs.dir != "" {
		os.RemoveAll(programs.dir)
	}
	os.Exit(code)
}

// build returns the program of a package.
func build(t *testing.T, pkg string) string {
	t.Helper()
	programs.mu.Lock()
	defer programs.mu.Unlock()
	if p := programs.path[pkg]; p != "" {
		return p
	}
	if programs.dir == "" {
		dir, err := os.MkdirTemp("", "kinetoscope-multihost-")
		if err != nil {
			t.Fatal(err)
		}
		programs.dir, programs.path = dir, map[string]string{}
	}
	out := filepath.Join(programs.dir, fmt.Sprint("program", len(programs.path)))
	if msg, err := exec.Command("go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	programs.path[pkg] = out
	return out
}

const (
	kinetoscope = "github.com/kinetoscope/kinetoscope/cmd/kinetoscope"
	natsServer  = "github.com/nats-io/nats-server/v2"
)

// tail of each log is shown when a test fails, in bytes.
const tail = 4 << 10

// syncLog is a process's output.
type syncLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *syncLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *syncLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *syncLog) tail() string {
	s := l.String()
	return s[max(len(s)-tail, 0):]
}

// process is a program under test on this host.
type process struct {
	cmd  *exec.Cmd
	log  *syncLog
	done chan struct{}
}

// run starts a program that ends, at the latest, with the test: by SIGTERM, and what
// was started first ends last.
func run(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), log: new(syncLog), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the tests look at ProcessState
	}()
	t.Cleanup(func() {
		p.end(t)
		if t.Failed() {
			t.Logf("---- the last of %s\n%s", strings.Join(args, " "), p.log.tail())
		}
	})
	return p
}

// end asks the process to end and waits for it.
func (p *process) end(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Errorf("%v does not end", p.cmd.Args)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.done
}

// until polls; it fails the test after d.
func until(t *testing.T, d time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	return waittest.Until(t, d, what, ok)
}

// api is a client of kinetoscope's HTTP server.
type api struct {
	client *http.Client
	url    string
}

// call makes a request of the server; a status other than 200 is an error.
func (a *api) call(ctx context.Context, method, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if data, err = io.ReadAll(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(data, answer)
}

// chat sends one request through all stages.
func (a *api) chat(ctx context.Context) error {
	var r struct {
		Choices []struct {
			Message struct {
				Content string
				Audio   struct{ Data string }
			}
		}
	}
	err := a.call(ctx, "POST", "/v1/chat/completions", map[string]any{
		"messages": []any{map[string]any{"role": "user", "content": "Name three hosts."}}, "max_tokens": 12,
	}, &r)
	if err == nil && (len(r.Choices) != 1 || r.Choices[0].Message.Content == "" &&
		r.Choices[0].Message.Audio.Data == "") {
		err = fmt.Errorf("no answer: %+v", r)
	}
	return err
}

func (a *api) healthy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return a.call(ctx, "GET", "/health", nil, nil) == nil
}

func (a *api) start(t *testing.T, prefix string) *session.Status {
	t.Helper()
	st := new(session.Status)
	if err := a.call(t.Context(), "POST", "/start_profile", map[string]any{"profile_prefix": prefix}, st); err != nil {
		t.Fatal(err)
	}
	return st
}

// stopWithin stops the session; a stop that takes longer than d fails the test.
func (a *api) stopWithin(t *testing.T, d time.Duration) *session.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	st := new(session.Status)
	if err := a.call(ctx, "POST", "/stop_profile", nil, st); err != nil {
		t.Fatalf("stop within %v: %v", d, err)
	}
	return st
}
