package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/kinetoscope/kinetoscope/client"
	"github.com/kinetoscope/kinetoscope/driver/scrape"
	httpdriver "github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/session"
)

type watchCmd struct {
	flags.Hub
	Targets  []string      `name:"target" required:"" sep:"none" help:"Server, as capture --target has it; may be given several times. All are captured when the condition holds of one." placeholder:"URL"`
	When     []string      `required:"" sep:"none" help:"What to wait for: 'ttft_p99 > 800ms', 'waiting / running > 4', any metric of /metrics. Of several one is enough." placeholder:"CONDITION"`
	Every    time.Duration `default:"5s" help:"How often the servers' metrics are read; percentiles and rates are of the time between."`
	Times    int           `default:"1" help:"How many times in a row it must hold." placeholder:"N"`
	Duration time.Duration `default:"5s" help:"How long to record each time."`
	Quiet    time.Duration `default:"5m" help:"How long to leave the servers alone after a capture: writing slows them down."`
	Max      int           `default:"10" help:"End after so many captures; 0 is no end." placeholder:"N"`
	Last     time.Duration `help:"Capture what has been so long before, from the flight recorders of a running server's ranks, as the plugin keeps them." placeholder:"10s"`
	URL      string        `default:"${server}" env:"KINETOSCOPE_URL" help:"With --last, the server whose ranks these are."`
	APIKey   string        `name:"api-key" env:"KINETOSCOPE_API_KEY" help:"Key that it asks for." placeholder:"KEY"`
	RunsDir  string        `help:"Where runs are kept; runs without it." type:"path"`
	JSON     bool          `name:"json" help:"Print each capture as a line of JSON."`
}

// captured is one line of --json.
type captured struct {
	SchemaVersion int             `json:"schema_version"`
	At            time.Time       `json:"at"`
	Target        string          `json:"target"` // the server whose metrics met the condition
	When          string          `json:"when"`
	Value         float64         `json:"value"`
	Session       *session.Status `json:"session"`
}

// watched is a server whose metrics are read again and again.
type watched struct {
	seat httpdriver.Seat
	d    *httpdriver.Driver
	last *scrape.Sample
	held map[string]int // how many times in a row a condition has held
	said string         // the last trouble reported, so that it is reported once
}

// Run captures whenever a condition holds.
func (c *watchCmd) Run(e *cli.Env) error {
	list, err := findTargets(e, c.Targets)
	if err != nil {
		return err
	}
	var when []*scrape.Condition
	for _, text := range c.When {
		w, err := scrape.Parse(text)
		if err != nil {
			return cli.Usage("--when: %w", err)
		}
		when = append(when, w)
	}
	switch {
	case c.Every < 100*time.Millisecond:
		return cli.Usage("--every %v: at least 100ms", c.Every)
	case c.Duration < protocol.MinDuration || c.Duration > protocol.DefaultMaxDuration:
		return cli.Usage("--duration %v: %v to %v", c.Duration, protocol.MinDuration, protocol.DefaultMaxDuration)
	case c.Times < 1 || c.Max < 0 || c.Quiet < 0:
		return cli.Usage("--times is 1 or more, --max and --quiet 0 or more")
	}
	if c.Last != 0 {
		return c.watchPast(e, list, when)
	}
	cfg := omni.Config{Attached: true, RunsDir: c.RunsDir, Logger: e.Log}
	cfg.Listen = "127.0.0.1:0" // nobody else joins
	if err := c.Hub.Set(&cfg); err != nil {
		return err
	}
	plan, err := cfg.Plan(e.Ctx)
	if err != nil {
		return cli.UsageError{Err: err}
	}
	eng, err := plan.Open(e.Ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	seats := httpdriver.Seats(list, eng.Model(), 0)
	fleet, err := httpdriver.Join(e.Ctx, eng.Hub().Conn(), seats,
		httpdriver.FleetConfig{Logger: e.Log, Found: sayFound(e)})
	if err != nil {
		return cli.StartError(err)
	}
	if err = eng.WaitAttached(e.Ctx, len(seats)); err == nil {
		err = c.watch(e, seats, when, func(hit *captured) error { return c.capture(e, eng, hit) })
	}
	return errors.Join(err, fleet.Close())
}

// watchPast captures the seconds before a condition held, from the flight recorders of a running
// server's ranks. Processes that were not prepared have no flight recorder.
func (c *watchCmd) watchPast(e *cli.Env, list []httpdriver.Target, when []*scrape.Condition) error {
	q := protocol.StartRequest{Prefix: "watch", Last: c.Last, AllowPartial: true}
	if err := q.Validate(); err != nil {
		return flags.FieldError(err)
	}
	if c.RunsDir != "" {
		return cli.Usage("--last: the runs are kept where the server keeps them; leave out --runs-dir")
	}
	server, err := (&flags.Server{Reach: flags.Reach{URL: c.URL, APIKey: c.APIKey}}).Client()
	if err != nil {
		return err
	}
	return c.watch(e, httpdriver.Seats(list, "watch", 0), when, func(hit *captured) error {
		fmt.Fprintf(e.Err, "%s: %s holds, with %.4g: keeping the %v before\n", hit.Target, hit.When, hit.Value, c.Last)
		if _, err := server.Start(e.Ctx, q); err != nil {
			return flags.ServerError(err)
		}
		st, err := server.Stop(e.Ctx, true)
		if err != nil {
			return flags.ServerError(err)
		}
		return c.print(e, hit, st)
	})
}

// watch calls capture each time that a condition holds.
func (c *watchCmd) watch(e *cli.Env, seats []httpdriver.Seat, when []*scrape.Condition,
	capture func(*captured) error) (err error) {
	var servers []*watched
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.d.Close())
		}
	}()
	for _, seat := range seats {
		if seat.Part > 0 {
			continue // the metrics of its first stage are those of the whole server
		}
		d, err := httpdriver.New(seat.Target, seat.ID, e.Log)
		if err != nil {
			return err
		}
		servers = append(servers, &watched{seat: seat, d: d, held: map[string]int{}})
	}
	p := cli.NewProgress(e.Err)
	defer p.End()
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for n := 0; c.Max == 0 || n < c.Max; {
		hit, err := c.look(e, p, servers, when)
		if err != nil {
			return err
		}
		if hit != nil {
			p.End()
			switch err := capture(hit); {
			case err == nil:
				n++
			case e.Ctx.Err() != nil || !passing(err):
				return err
			default:
				fmt.Fprintf(e.Err, "not captured: %v; the metrics are read again in %v\n", err, c.Quiet)
			}
			if n == c.Max && c.Max > 0 || wait.For(e.Ctx, c.Quiet) != nil {
				return nil
			}
			for _, s := range servers { // metrics measured while the servers wrote files do not describe their load
				s.last, s.held = nil, map[string]int{}
			}
			continue
		}
		select {
		case <-tick.C:
		case <-e.Ctx.Done():
			return nil
		}
	}
	return nil
}

// passing reports whether what kept a session from being captured may be over at the next time: a server
// that starts anew, somebody else's session. What a server says of a key or a request is not.
func passing(err error) bool {
	status := http.StatusOK
	if s, ok := errors.AsType[interface {
		error
		HTTPStatus() int
	}](err); ok {
		status = s.HTTPStatus()
	}
	_, answered := errors.AsType[*client.Error](err)
	_, network := errors.AsType[*url.Error](err)
	return network || status == http.StatusConflict || status >= http.StatusInternalServerError ||
		status == http.StatusNotFound && !answered // the target's rank is not back yet
}

// look reads all servers' metrics once. An unknown metric is an error only if no server has it.
func (c *watchCmd) look(e *cli.Env, p *cli.Progress, servers []*watched, when []*scrape.Condition) (*captured, error) {
	unknown := map[string]error{}
	known := map[string]bool{}
	read := 0
	for _, s := range servers {
		now, err := s.d.Metrics(e.Ctx)
		if e.Ctx.Err() != nil {
			return nil, nil
		}
		if err != nil {
			if s.said != err.Error() {
				s.said = err.Error()
				fmt.Fprintf(e.Err, "%s: %v; it is asked again every %v\n", s.seat, err, c.Every)
			}
			s.last, s.held = nil, map[string]int{} // in a row is without a gap
			continue
		}
		read++
		s.said = ""
		before := s.last
		s.last = now
		for _, w := range when {
			value, is, holds, err := w.Judge(before, now)
			if err != nil {
				unknown[w.Text] = fmt.Errorf("%s: %w", s.seat, err)
				continue
			}
			known[w.Text] = true
			if is {
				p.Say("%s: %.4g, waiting for %s", s.seat, value, w.Text)
			}
			if s.held[w.Text]++; !holds {
				s.held[w.Text] = 0
			}
			if holds && s.held[w.Text] >= c.Times {
				return &captured{SchemaVersion: 1, At: now.At, Target: s.seat.String(), When: w.Text, Value: value}, nil
			}
		}
	}
	if read == len(servers) {
		for text, err := range unknown {
			if !known[text] {
				return nil, cli.Usage("--when %s: %w", text, err)
			}
		}
	}
	return nil, nil
}

// capture records all servers once.
func (c *watchCmd) capture(e *cli.Env, eng *omni.Engine, hit *captured) error {
	fmt.Fprintf(e.Err, "%s: %s holds, with %.4g: recording for %v\n", hit.Target, hit.When, hit.Value, c.Duration)
	q := protocol.StartRequest{Prefix: "watch", MaxDuration: c.Duration + time.Minute, AllowPartial: true}
	if _, err := eng.StartProfile(e.Ctx, q); err != nil {
		return cli.StartError(err)
	}
	_ = wait.For(e.Ctx, c.Duration) // an interrupted recording ends now and is kept
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.Ctx), serverStop)
	defer cancel()
	p := cli.NewProgress(e.Err)
	st, err := stopFollowed(ctx, eng, p)
	p.End()
	if err != nil {
		return fmt.Errorf("stop the session: %w", err)
	}
	return c.print(e, hit, st)
}

// print prints one capture.
func (c *watchCmd) print(e *cli.Env, hit *captured, st *session.Status) error {
	hit.Session = st
	if c.JSON {
		return cli.JSON(e.Out, hit)
	}
	fmt.Fprintf(report.Terminal(e.Out), "%s  %s  %s with %.4g\n", hit.At.UTC().Format(time.RFC3339), hit.Target,
		hit.When, hit.Value)
	return outcome.Print(e.Out, st)
}
