package child

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/wait"
)

const (
	// servingPoll is how often a server is asked whether it serves: models load for minutes.
	servingPoll = 500 * time.Millisecond
	// servingAnswer bounds one answer.
	servingAnswer = 5 * time.Second
)

// CheckAddress refuses an address that Serves cannot ask.
func CheckAddress(text string) error {
	if text == "" {
		return nil
	}
	if strings.Contains(text, "://") {
		if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return cli.Usage("--ready %s: want a URL, or HOST:PORT", text)
		}
		return nil
	}
	if _, port, err := net.SplitHostPort(text); err != nil || port == "" {
		return cli.Usage("--ready %s: want a URL, or HOST:PORT", text)
	}
	return nil
}

// Serves reports whether the server that --ready names answers: a URL with a status of 200 to 299,
// an address by accepting a connection.
func Serves(ctx context.Context, text string) bool {
	ctx, cancel := context.WithTimeout(ctx, servingAnswer)
	defer cancel()
	if !strings.Contains(text, "://") {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", text)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, text, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode/100 == 2
}

// AwaitServing returns nil when the server that --ready names answers, or the cause if ctx ends
// first.
func AwaitServing(ctx context.Context, text string) error {
	if err := wait.Until(ctx, servingPoll, func() bool { return Serves(ctx, text) }); err != nil {
		return fmt.Errorf("%s does not serve: %w", text, err)
	}
	return nil
}
