package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// probeTimeout bounds one question to a server that is healthy; a busy one answers
	// within seconds.
	probeTimeout = 10 * time.Second
	// maxAnswer bounds what is read of an answer: the largest is an openapi.json.
	maxAnswer = 16 << 20
	// shownAnswer is how much of an answer is shown to people.
	shownAnswer = 200
)

// client asks one server. Its transport has no timeout of its own: a stop was seen to take
// minutes, and a context bounds each call.
type client struct {
	base, token string
	http        *http.Client
}

// answer is what a server said.
type answer struct {
	status int
	body   []byte
}

// ok reports a status of 200 to 299.
func (a answer) ok() bool { return a.status/100 == 2 }

// String is the answer for people, on one line.
func (a answer) String() string {
	text := strings.Join(strings.Fields(string(a.body)), " ")
	if len(text) > shownAnswer {
		text = text[:shownAnswer] + "…"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, text))
}

// call sends body as JSON, none if it is nil.
func (c *client) call(ctx context.Context, method, path string, body any) (answer, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, in)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return answer{resp.StatusCode, b}, err
}

// get asks for a JSON document. What is no JSON, or is not there, leaves out as it is.
func (c *client) get(ctx context.Context, path string, out any) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	a, err := c.call(ctx, http.MethodGet, path, nil)
	if err == nil && a.ok() {
		_ = json.Unmarshal(a.body, out) // a probe takes what it can read
	}
	return a, err
}
