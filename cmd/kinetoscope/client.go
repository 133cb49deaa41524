package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// serverFlags say which server a client verb talks to.
type serverFlags struct {
	URL    string `default:"http://127.0.0.1:8000" env:"KINETOSCOPE_URL" help:"The server."`
	APIKey string `name:"api-key" env:"KINETOSCOPE_API_KEY" help:"Key that the server asks for." placeholder:"KEY"`
	JSON   bool   `name:"json" help:"Print the server's answer as JSON."`
}

// maxAnswer bounds a JSON answer: a session of hundreds of ranks is under a megabyte.
const maxAnswer = 64 << 20

// request sends one request and decodes the answer. A status of 400 to 499 is the
// user's mistake.
func (f *serverFlags) request(ctx context.Context, method, path string, body, answer any) error {
	var r io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(f.URL, "/")+path, r)
	if err != nil {
		return usage("--url: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := f.do(req)
	if err != nil {
		return fmt.Errorf("%w; is kinetoscope serve running there? --url names another server", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, errorText(data))
		if resp.StatusCode < 500 {
			return usageError{err}
		}
		return err
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s %s: answer is not JSON: %w", method, path, err)
	}
	return nil
}

// do sends req with the key, if there is one.
func (f *serverFlags) do(req *http.Request) (*http.Response, error) {
	if f.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+f.APIKey)
	}
	return http.DefaultClient.Do(req)
}

// errorText finds the message in an error body, and what it says to do.
func errorText(body []byte) string {
	var e struct {
		Error  struct{ Message string } `json:"error"`
		Detail any                      `json:"detail"`
		Hint   string                   `json:"hint"`
	}
	text := strings.TrimSpace(string(body))
	if json.Unmarshal(body, &e) == nil {
		switch {
		case e.Error.Message != "":
			text = e.Error.Message
		case e.Detail != nil:
			text = fmt.Sprint(e.Detail)
		}
		if e.Hint != "" {
			text += "; " + e.Hint
		}
	}
	return text
}

func (f *serverFlags) printStatus(e *env, st *session.Status) error {
	if f.JSON {
		return printJSON(e.out, st)
	}
	return printRun(e.out, st)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

type startCmd struct {
	serverFlags
	sessionFlags
	DelayIterations *int          `help:"Iterations to let pass first; the stage's own setting without it." placeholder:"N"`
	MaxIterations   *int          `help:"Iterations to record at most; the stage's own setting without it." placeholder:"N"`
	MaxDuration     time.Duration `help:"Stop by itself after so long; 10m without it, and 5s in processes that Kineto records." placeholder:"30s"`
	ProfilerConfig  string        `help:"profiler_config as JSON, in place of the stages' own, over the defaults; --profiler-config.FIELD=VALUE sets one field." placeholder:"JSON"`

	dotted map[string]string
}

func (c *startCmd) Run(e *env) error {
	body := c.start()
	body.MaxDuration = c.MaxDuration
	body.DelayIterations, body.MaxIterations = c.DelayIterations, c.MaxIterations
	if c.ProfilerConfig != "" || len(c.dotted) > 0 {
		o, err := parseOverride(c.ProfilerConfig, c.dotted)
		if err != nil {
			return err
		}
		cfg := protocol.DefaultProfilerConfig()
		cfg.Profiler = protocol.ProfilerTorch
		cfg = o.Apply(cfg)
		body.Config = &cfg
	}
	if err := body.Validate(); err != nil {
		return flagError(err)
	}
	var st session.Status
	if err := c.request(e.ctx, http.MethodPost, "/start_profile", body, &st); err != nil {
		return err
	}
	return c.printStatus(e, &st)
}

type stopCmd struct {
	serverFlags
	NoWait bool `help:"Return at once; status shows the progress."`
}

func (c *stopCmd) Run(e *env) error {
	var st session.Status
	if err := c.request(e.ctx, http.MethodPost, "/stop_profile", map[string]any{"wait": !c.NoWait}, &st); err != nil {
		return err
	}
	if err := c.printStatus(e, &st); err != nil {
		return err
	}
	if c.NoWait || st.State == session.StateIdle {
		return nil
	}
	return sessionError(&st)
}

type statusCmd struct{ serverFlags }

func (c *statusCmd) Run(e *env) error {
	var health, list json.RawMessage
	if err := c.request(e.ctx, http.MethodGet, "/health", nil, &health); err != nil {
		return err
	}
	if err := c.request(e.ctx, http.MethodGet, "/v1/sessions?limit=1", nil, &list); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, map[string]json.RawMessage{"health": health, "sessions": list})
	}
	var h struct {
		Status, Reason string
		Stages         []struct {
			ID, Replicas, Ranks int
			Name, Type          string
			Profiler            bool
		}
	}
	if err := json.Unmarshal(health, &h); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "server %s: %s", c.URL, h.Status)
	if h.Reason != "" {
		fmt.Fprintf(e.out, ", %s", h.Reason)
	}
	fmt.Fprintln(e.out)
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STAGE\tNAME\tTYPE\tREPLICAS\tRANKS\tPROFILER")
	for _, s := range h.Stages {
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%v\n", s.ID, s.Name, s.Type, s.Replicas, s.Ranks, s.Profiler)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var sessions struct{ Data []session.Status }
	if err := json.Unmarshal(list, &sessions); err != nil {
		return err
	}
	if len(sessions.Data) == 0 {
		fmt.Fprintln(e.out, "no session yet")
		return nil
	}
	return printRun(e.out, &sessions.Data[0])
}

type sessionsCmd struct {
	serverFlags
	ID       string `arg:"" optional:"" help:"Session to show; all without it."`
	Download string `help:"Directory to put the session's artifacts into." type:"path" placeholder:"DIR"`
}

func (c *sessionsCmd) Run(e *env) error {
	if c.ID == "" {
		if c.Download != "" {
			return usage("--download: say which session")
		}
		return c.list(e)
	}
	var st session.Status
	if err := c.request(e.ctx, http.MethodGet, "/v1/sessions/"+url.PathEscape(c.ID), nil, &st); err != nil {
		return err
	}
	if c.Download != "" {
		return c.download(e, &st)
	}
	return c.printStatus(e, &st)
}

func (c *sessionsCmd) list(e *env) error {
	var list struct {
		Data []session.Status `json:"data"`
	}
	if err := c.request(e.ctx, http.MethodGet, "/v1/sessions", nil, &list); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, list.Data)
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SESSION\tSTATE\tSTARTED\tPREFIX\tRANKS\tCOMPLETE")
	for _, st := range list.Data {
		ranks, complete := 0, 0
		for _, s := range st.Stages {
			for _, r := range s.Ranks {
				ranks++
				if r.State == protocol.StateComplete {
					complete++
				}
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\n", st.ID, st.State, st.StartedAt.Local().Format(time.DateTime), st.Prefix, ranks, complete)
	}
	return w.Flush()
}

// download fetches every artifact of a session and checks its hash.
func (c *sessionsCmd) download(e *env, st *session.Status) error {
	arts := st.Artifacts
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			arts = append(arts, r.Artifacts...)
		}
	}
	if len(arts) == 0 {
		return errors.New("the session has no artifacts; is it complete?")
	}
	if err := os.MkdirAll(c.Download, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(c.Download)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, a := range arts {
		if err := c.fetch(e.ctx, root, st.ID, a); err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
		fmt.Fprintf(e.out, "%s (%s)\n", a.Name, size(a.Size))
	}
	return nil
}
