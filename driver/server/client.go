package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
)

const (
	// probeTimeout bounds one question to a server. A healthy server answers within seconds even
	// when it is busy.
	probeTimeout = 10 * time.Second
	// asideTimeout bounds a question that a session can do without: two of them leave time in that of an arm,
	// which is ten seconds.
	asideTimeout = 4 * time.Second
	// maxAnswer bounds what is read of an answer: the largest is an openapi.json.
	maxAnswer = 16 << 20
	// shownAnswer is how much of an answer is shown to people.
	shownAnswer = 200
)

// client sends requests to one server. Its transport has no timeout of its own, because a stop may
// take minutes; a context bounds each call.
type client struct {
	base, token string
	header      string // in which the token is sent; "": Authorization
	http        *http.Client
	aside       time.Duration // asideTimeout
}

// newClient returns a client of the target. The error is one of its certificates.
func newClient(to Target) (*client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = dialWatched(transport.DialContext)
	if to.CA != "" || to.Cert != "" || to.ServerName != "" {
		cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: to.ServerName}
		var err error
		if to.CA != "" {
			if cfg.RootCAs, err = link.Authorities(to.CA); err != nil {
				return nil, fmt.Errorf("%s: ca: %w", to, err)
			}
		}
		if to.Cert != "" {
			pair, err := tls.LoadX509KeyPair(to.Cert, to.Key)
			if err != nil {
				return nil, fmt.Errorf("%s: cert with key: %w", to, err)
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		transport.TLSClientConfig = cfg
	}
	web := &http.Client{Transport: transport,
		// A client that followed redirects would send the token to whatever server they name.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &client{base: to.URL, token: to.Token, header: to.Header, aside: asideTimeout, http: web}, nil
}

// answer is what a server said.
type answer struct {
	status int
	body   []byte
}

// ok reports a status of 200 to 299.
func (a answer) ok() bool { return a.status/100 == 2 }

// decode reads the answer's JSON.
func (a answer) decode(out any) error { return json.Unmarshal(a.body, out) }

// String returns the answer for people, on one line, without what a terminal would obey.
func (a answer) String() string {
	text := strings.Join(strings.Fields(string(a.body)), " ")
	if len(text) > shownAnswer {
		text = strings.ToValidUTF8(text[:shownAnswer], "") + "…"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, neutral.Plain(text)))
}

// unknownError reports something that listens and is no server that can be driven: a web page, say.
type unknownError struct{ path, says string }

func (e *unknownError) Error() string {
	return fmt.Sprintf("not a known server: it answered GET %s with %s", e.path, e.says)
}

// unknown is an unknownError of an answer that a known server does not give.
func unknown(path string, a answer) error { return &unknownError{path, a.String()} }

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
	if header, token := c.auth(); token != "" {
		req.Header.Set(header, token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return answer{resp.StatusCode, b}, err
}

// auth returns the header that authenticates this client, "" if there is none.
func (c *client) auth() (header, value string) {
	switch {
	case c.token == "":
		return "", ""
	case c.header == "" || strings.EqualFold(c.header, "Authorization") && !strings.Contains(c.token, " "):
		return "Authorization", "Bearer " + c.token
	}
	return c.header, c.token
}

// get asks for a JSON document or, if out is nil, whether the server answers. If the server has no
// such document, out stays as it is. An answer of success that is a page, or no JSON where JSON is
// asked for, comes from no server that is known: that is an error.
func (c *client) get(ctx context.Context, path string, out any) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	a, err := c.call(ctx, http.MethodGet, path, nil)
	if err != nil || !a.ok() {
		return a, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<")) {
		return a, unknown(path, a)
	}
	if out != nil {
		var document map[string]any
		if json.Unmarshal(a.body, &document) != nil {
			return a, unknown(path, a)
		}
		_ = json.Unmarshal(a.body, out) // a probe uses what it can read
	}
	return a, err
}
