package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/session"
)

// Bounds of the harness. They are what a user would call hanging, several times over.
const (
	readyTimeout   = 90 * time.Second // a server and its ranks, after anything
	sessionTimeout = 90 * time.Second // from a stop to the end of a session
	requestTimeout = 30 * time.Second
	poll           = 5 * time.Millisecond // shorter than any state of a session
)

// product is one server with its ranks, data directory and run store.
type product struct {
	binary  string
	data    string
	runs    string
	addr    string
	log     *os.File
	client  *http.Client
	cmd     *exec.Cmd
	exited  chan struct{}
	ranks   int    // of the pipeline
	deploy  string // its file, "" for the built-in one
	model   string // its name in requests
	slow    int    // how often the usual time its ranks may take to be ready
	far     bool   // a rank of it is on another host
	apart   *apart // that rank while it runs
	readyAt string
}

// rankProcess is a rank as /health shows it.
type rankProcess struct {
	Stage     string
	Rank, PID int
}

func (p *product) url(path string) string { return "http://" + p.addr + path }

// start runs the server until it serves.
func (p *product) start(ctx context.Context) error {
	if err := os.Remove(p.readyAt); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	cmd := p.serve()
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.exited = cmd, make(chan struct{})
	exited := p.exited
	go func() {
		_ = cmd.Wait() // how it ended is seen from outside
		close(exited)
	}()
	if p.far {
		if err := p.startApart(ctx); err != nil {
			return err
		}
	}
	err := until(ctx, p.ready(), "the server to serve", func() bool {
		text, err := os.ReadFile(p.readyAt)
		if err == nil {
			p.addr = strings.TrimPrefix(strings.TrimSpace(string(text)), "http://")
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	return p.healthy(ctx)
}

func (p *product) serve() *exec.Cmd {
	args := []string{"serve", "--addr", "127.0.0.1:0", "--data-dir", p.data, "--runs-dir", p.runs, "--ready-file",
		p.readyAt}
	if p.deploy != "" {
		args = append(args, p.deploy)
	}
	if p.far {
		args = append(args, "--nats-file", p.joinAt())
	}
	cmd := exec.Command(p.binary, args...)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	return cmd
}

// ready bounds how long all its ranks may take to be there.
func (p *product) ready() time.Duration { return time.Duration(p.slow) * readyTimeout }

// stop ends the server as its user does.
func (p *product) stop() {
	defer p.stopApart()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-p.exited:
	case <-time.After(readyTimeout):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	p.cmd = nil
}

// kill ends the product without any warning.
func (p *product) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
	p.cmd = nil
}

// ask requests a path and returns the status and the body.
func (p *product) ask(ctx context.Context, method, path string, body any) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url(path), r)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, b, err
}

// healthy waits until the server says that all is well.
func (p *product) healthy(ctx context.Context) error {
	last := ""
	err := until(ctx, p.ready(), "/health to be ok", func() bool {
		code, body, err := p.ask(ctx, http.MethodGet, "/health", nil)
		last = fmt.Sprint(code, " ", string(body), " ", err)
		return code == http.StatusOK
	})
	if err != nil {
		return fmt.Errorf("%w: %.300s", err, last)
	}
	return nil
}

// processes are the ranks that are there.
func (p *product) processes(ctx context.Context) ([]rankProcess, error) {
	_, body, err := p.ask(ctx, http.MethodGet, "/health", nil)
	if err != nil {
		return nil, err
	}
	var h struct {
		Stages []struct {
			Name   string `json:"name"`
			Detail []struct {
				Rank int `json:"rank"`
				PID  int `json:"pid"`
			} `json:"rank_details"`
		} `json:"stages"`
	}
	if err := json.Unmarshal(body, &h); err != nil {
		return nil, err
	}
	var out []rankProcess
	for _, s := range h.Stages {
		for _, r := range s.Detail {
			out = append(out, rankProcess{s.Name, r.Rank, r.PID})
		}
	}
	return out, nil
}

// begin starts a session, once no look back of the server's own is in the way.
func (p *product) begin(ctx context.Context, prefix string) (code int, body []byte, err error) {
	late := until(ctx, sessionTimeout, "a look back to end", func() bool {
		code, body, err = p.ask(ctx, http.MethodPost, "/start_profile", map[string]any{"profile_prefix": prefix})
		return err != nil || code != http.StatusConflict || !bytes.Contains(body, []byte(lookBack))
	})
	return code, body, errors.Join(err, late)
}

// since are the sessions that are younger than the one of that id, oldest first; "" is all.
func (p *product) since(ctx context.Context, id string) ([]session.Status, error) {
	_, body, err := p.ask(ctx, http.MethodGet, "/v1/sessions", nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Data []session.Status `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	out := slices.DeleteFunc(list.Data, func(st session.Status) bool { return st.ID <= id })
	slices.Reverse(out)
	return out, nil
}

// session is what the server says of one now.
func (p *product) session(ctx context.Context, id string) (*session.Status, error) {
	code, body, err := p.ask(ctx, http.MethodGet, "/v1/sessions/"+id, nil)
	if err != nil {
		return nil, err
	}
	st := new(session.Status)
	if err := json.Unmarshal(body, st); err != nil || code != http.StatusOK {
		return nil, fmt.Errorf("session %s: %d %.200s: %v", id, code, body, err)
	}
	return st, nil
}

// struck returns the session that was under way when something broke: the first session after the
// one with the id after that is not a look back of the server itself. It is nil if there is none.
func (p *product) struck(ctx context.Context, after string) (*session.Status, error) {
	list, err := p.since(ctx, after)
	for i := range list {
		if list[i].Prefix != lookBack {
			return &list[i], nil
		}
	}
	return nil, err
}

// lookBack is the prefix of the sessions that a failed request begins.
const lookBack = "failed-request"

// said is what the command line says of a session.
func (p *product) said(ctx context.Context, id string) (st session.Status, err error) {
	cmd := exec.CommandContext(ctx, p.binary, "sessions", id, "--url", p.url(""), "--json")
	out, err := cmd.Output() // it ends with 1 if the session is not complete
	if json.Unmarshal(out, &st) != nil {
		return st, errors.Join(fmt.Errorf("kinetoscope sessions %s says %.200q", id, out), err)
	}
	return st, nil
}

// chat sends a request; only 200, and a 503 with a reason, count as answers.
func (p *product) chat(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	code, body, err := p.ask(ctx, http.MethodPost, "/v1/chat/completions", map[string]any{
		"model": p.model, "max_tokens": 4,
		"messages": []map[string]string{{"role": "user", "content": "hello"}}})
	if err != nil {
		return 0, err
	}
	if code != http.StatusOK && code != http.StatusServiceUnavailable {
		return code, fmt.Errorf("a request was answered with %d: %.200s", code, body)
	}
	return code, nil
}

// spooled are the files that wait in the data directory.
func (p *product) spooled() []string {
	list, _ := filepath.Glob(filepath.Join(p.data, "spool", "*", "*")) //nolint:errcheck // the pattern is good
	return list
}

// until polls ok.
func until(ctx context.Context, d time.Duration, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if wait.Until(ctx, poll, ok) != nil {
		return fmt.Errorf("waited %v for %s", d, what)
	}
	return nil
}
