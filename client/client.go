// Package client is a client of a profiling server: it starts and stops sessions, asks for health,
// lists sessions and runs, and downloads their files. The command line's verbs use it. docs/http.md
// describes the API; for generations use any OpenAI client.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store/runs"
	"github.com/kinetoscope/kinetoscope/web/api"
)

// DefaultURL is where a server is found unless told.
const DefaultURL = "http://" + api.DefaultAddr

// Config says which server a Client talks to. The zero value is the server of this host.
type Config struct {
	URL    string       // "": DefaultURL
	APIKey string       // that the server asks for; "": none
	HTTP   *http.Client // nil: http.DefaultClient. A stop may take minutes: bound calls by their ctx
}

// Client talks to one server. It is safe for concurrent use.
type Client struct {
	base string
	key  string
	http *http.Client
}

// New makes a client. It connects to nothing; the error is about the URL.
func New(c Config) (*Client, error) {
	if c.URL == "" {
		c.URL = DefaultURL
	}
	u, err := url.Parse(c.URL)
	if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		err = errors.New("want http://HOST:PORT")
	}
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", c.URL, err)
	}
	if c.HTTP == nil {
		c.HTTP = http.DefaultClient
	}
	return &Client{base: strings.TrimSuffix(c.URL, "/"), key: c.APIKey, http: c.HTTP}, nil
}

// Error is a server's refusal or failure.
type Error struct {
	Method, Path string
	Status       int             // HTTP
	Code         string          // "invalid_value", "session_running" …; "" is unknown
	Param        string          // the field at fault, if one is
	Message      string          // what is wrong
	Hint         string          // what to do, if the server says
	Session      *session.Status // the session in the way, or the one that did not start; or nil
}

// Error says what was asked and why it failed.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: %d %s: %s", e.Method, e.Path, e.Status, http.StatusText(e.Status), e.Message)
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// HTTPStatus returns the server's status. For 400 to 499 the caller has to correct the request.
func (e *Error) HTTPStatus() int { return e.Status }

// Start starts a session and returns when every rank records. A wrong request is a
// *protocol.FieldError and is not sent; a server that refuses answers with an *Error.
func (c *Client) Start(ctx context.Context, r protocol.StartRequest) (*session.Status, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return c.session(ctx, http.MethodPost, api.StartPath, r)
}

// Stop ends the running session and returns it; if wait is set, after its artifacts are durable. If
// nothing is running, the state is idle, which is not an error.
func (c *Client) Stop(ctx context.Context, wait bool) (*session.Status, error) {
	return c.session(ctx, http.MethodPost, api.StopPath, api.StopRequest{Wait: &wait})
}

// Session returns a session by id.
func (c *Client) Session(ctx context.Context, id string) (*session.Status, error) {
	return c.session(ctx, http.MethodGet, api.SessionPath(id), nil)
}

func (c *Client) session(ctx context.Context, method, path string, body any) (*session.Status, error) {
	st := new(session.Status)
	if err := c.call(ctx, method, path, body, st); err != nil {
		return nil, err
	}
	return st, nil
}

// Sessions returns at most limit sessions, newest first; 0 means the server's default.
func (c *Client) Sessions(ctx context.Context, limit int) ([]*session.Status, error) {
	path := api.SessionsPath
	if limit > 0 {
		path += fmt.Sprintf("?limit=%d", limit)
	}
	var list api.SessionList
	err := c.call(ctx, http.MethodGet, path, nil, &list)
	return list.Data, err
}

// Health returns whether the pipeline serves, its stages, and what is missing. A pipeline that does
// not serve is not an error.
func (c *Client) Health(ctx context.Context) (*api.Health, error) {
	h := new(api.Health)
	err := c.call(ctx, http.MethodGet, api.HealthPath, nil, h)
	return h, err
}

// Report returns a session's report; nil if the session has none.
func (c *Client) Report(ctx context.Context, st *session.Status) (*pipeline.Report, error) {
	for _, a := range st.Artifacts {
		if a.Name != runs.ReportName {
			continue
		}
		f, err := c.Artifact(ctx, st.ID, a.Name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return report.ReadJSON(f)
	}
	return nil, nil
}

// Artifact opens one file of a session's run. The caller closes it.
func (c *Client) Artifact(ctx context.Context, id, name string) (io.ReadCloser, error) {
	return c.open(ctx, api.ArtifactPath(id, name))
}

// open opens what a path answers. The caller closes it.
func (c *Client) open(ctx context.Context, path string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		data, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) // an incomplete body still explains the error best
		return nil, refusal(http.MethodGet, path, resp.StatusCode, data)
	}
	return resp.Body, nil
}

// Bounds of answers that are held in memory.
const (
	maxAnswer = 64 << 20 // a session of hundreds of ranks is under a megabyte
	maxError  = 64 << 10
)

// call sends a request and decodes the answer.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		// A pipeline that does not serve says so with 503 and the usual body.
		if h, ok := answer.(*api.Health); ok && json.Unmarshal(data, h) == nil && h.Status != "" {
			return nil
		}
		return refusal(method, path, resp.StatusCode, data)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s %s: the answer is none of this API's: %w", method, path, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.send(req)
}

// send sends a request with the key.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	return c.http.Do(req)
}

// refusal makes an Error of a refused request's body, which a proxy or another server may have
// written.
func refusal(method, path string, status int, data []byte) *Error {
	e := &Error{Method: method, Path: path, Status: status, Message: strings.TrimSpace(string(data))}
	var b struct {
		api.ErrorBody
		Detail any `json:"detail"` // text, or what other servers say
	}
	if json.Unmarshal(data, &b) != nil {
		return e
	}
	switch {
	case b.Error.Message != "":
		e.Message = b.Error.Message
	case b.Detail != nil:
		e.Message = fmt.Sprint(b.Detail)
	}
	if b.Error.Param != nil {
		e.Param = *b.Error.Param
	}
	if b.Error.Code != nil {
		e.Code = *b.Error.Code
	}
	e.Hint, e.Session = b.Hint, b.Session
	return e
}
