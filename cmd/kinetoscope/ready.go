package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// readyPoll is how often a server is asked whether it serves: models load for minutes.
	readyPoll = 500 * time.Millisecond
	// readyAnswer bounds one answer.
	readyAnswer = 5 * time.Second
	// steady is how long the ranks of a server that serves must be the same ones: launchers
	// show before their workers, which take their places a moment later.
	steady = 3 * time.Second
)

// checkReady refuses what cannot be asked.
func checkReady(text string) error {
	if text == "" {
		return nil
	}
	if strings.Contains(text, "://") {
		if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return usage("--ready %s: want a URL, or HOST:PORT", text)
		}
		return nil
	}
	if _, port, err := net.SplitHostPort(text); err != nil || port == "" {
		return usage("--ready %s: want a URL, or HOST:PORT", text)
	}
	return nil
}

// serves reports whether what --ready names answers: a URL with 200 to 299, an address by
// taking a connection.
func serves(ctx context.Context, text string) bool {
	ctx, cancel := context.WithTimeout(ctx, readyAnswer)
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

// awaitReady returns when the server serves.
func (c *captureCmd) awaitReady(ctx context.Context, p *progress) error {
	if c.Ready == "" {
		return nil
	}
	p.say("waiting for %s to serve", c.Ready)
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for !serves(ctx, c.Ready) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w", c.Ready, context.Cause(ctx))
		}
	}
	return nil
}

// awaitRanks returns when the ranks are there and, of a server, have been the same ones for
// a while, so that none is recorded in place of the one that follows it.
func (c *captureCmd) awaitRanks(ctx context.Context, eng *omni.Engine) error {
	for {
		if err := eng.WaitAttached(ctx, c.Ranks); err != nil || c.Ready == "" {
			return err
		}
		before := incarnations(eng.Ranks())
		wait := time.NewTimer(steady)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return context.Cause(ctx)
		}
		if slices.Equal(before, incarnations(eng.Ranks())) {
			return nil
		}
	}
}

func incarnations(ranks []protocol.RankInfo) []string {
	var out []string
	for _, r := range ranks {
		out = append(out, r.Incarnation)
	}
	slices.Sort(out)
	return out
}
