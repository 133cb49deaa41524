package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kinetoscope/kinetoscope/driver/server/discover"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// discoverEvery is how often a fleet asks which servers are there: pods take longer to load a model.
	discoverEvery = 10 * time.Second
	// goneAfter is how many answers in a row have to lack a server before its rank leaves: resolvers turn
	// many addresses around and answer with some of them.
	goneAfter = 3
	// maxReplicas bounds the replicas of a stage with servers that are found: so many places are looked at
	// for who has them.
	maxReplicas = discover.MaxFound
)

// Find returns a target for each server that is found where a target says, and the other targets as they
// are. That none is found is an error.
func Find(ctx context.Context, f *discover.Finder, list []Target) ([]Target, error) {
	var out []Target
	for _, t := range list {
		if t.Discover.Kind == "" {
			out = append(out, t)
			continue
		}
		found, err := f.Find(ctx, t.Discover)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: there is no server", t.Discover)
		}
		for _, one := range found {
			out = append(out, t.at(one))
		}
	}
	return out, nil
}

// at returns the target of one server that was found.
func (t Target) at(f discover.Found) Target {
	scheme, _, _ := strings.Cut(t.URL, "://")
	t.URL = scheme + "://" + f.Address
	t.Dir = strings.ReplaceAll(t.Dir, "{name}", f.Name)
	if t.Discover.Kind == discover.DNS && t.Discover.Port != "" {
		t.ServerName = t.Discover.Name
	}
	t.Discover = discover.Source{}
	return t
}

// place is a found server, with a rank for each of its stages while it takes part.
type place struct {
	seats  []Seat
	joined []*joined // one a seat; none: the server does not take part
	missed int       // answers in a row without it
	other  string    // who drives it in place of this fleet, as was said
}

// follow has the servers take part that are found where a target says, each as a replica of the target's
// stages, from when it is found until it is gone.
func (f *Fleet) follow(ctx context.Context, nc *nats.Conn, stages []Seat) {
	here := map[string]*place{}
	said := ""
	for {
		found, err := f.cfg.Finder.Find(ctx, stages[0].Discover)
		if err == nil {
			err = f.meet(ctx, nc, stages, here, found)
			f.part(here, found)
		}
		if ctx.Err() != nil {
			return
		}
		if text := fmt.Sprint(err); err != nil && text != said {
			f.cfg.Logger.Warn("servers are looked for", "target", stages[0].String(), "err", err)
		}
		said = fmt.Sprint(err)
		if wait.For(ctx, f.cfg.every) != nil {
			return
		}
	}
}

// meet has servers take part that do not yet.
func (f *Fleet) meet(ctx context.Context, nc *nats.Conn, stages []Seat, here map[string]*place,
	found []discover.Found) error {
	var errs []error
	for _, one := range found {
		if stages[0].Agent == OwnNode && one.Node != f.cfg.Node {
			continue
		}
		p := here[one.Address]
		if p == nil {
			p = &place{}
			here[one.Address] = p
		}
		p.missed = 0
		if p.joined == nil {
			errs = append(errs, f.enter(ctx, nc, p, stages, one))
		}
	}
	return errors.Join(errs...)
}

// enter has a found server take part that answers and whose files are seen here, unless another process drives
// it: of several agents that find it one does, and another has it when that one has left.
func (f *Fleet) enter(ctx context.Context, nc *nats.Conn, p *place, stages []Seat, one discover.Found) error {
	server := stages[0].Target.at(one).String()
	taken, by, err := f.around(ctx, nc, stages, server)
	if err != nil {
		return err
	}
	if by != nil {
		f.yield(p, server, by)
		return nil
	}
	if p.seats, err = f.seats(stages, one, taken); err != nil {
		return errors.Join(err, f.quit(p))
	}
	for _, s := range p.seats {
		j, err := f.add(ctx, ctx, nc, s, false)
		if err != nil {
			return errors.Join(err, f.quit(p))
		}
		p.joined = append(p.joined, j)
	}
	p.other = ""
	// Two that joined at once see each other now, and the lower replica's stays.
	if _, by, err = f.around(ctx, nc, stages, server); err != nil || by == nil ||
		by.Incarnation == p.joined[0].member.Info().Incarnation {
		return err
	}
	f.yield(p, server, by)
	return f.quit(p)
}

// around returns which replicas of the stages have somebody, and the process that drives a server and
// answers, nil if none does: of several the one with the lowest replica.
func (f *Fleet) around(ctx context.Context, nc *nats.Conn, stages []Seat, server string) (taken map[int]map[int]bool,
	by *protocol.RankInfo, err error) {
	var ids []protocol.RankID
	for _, s := range stages {
		for n := range maxReplicas {
			id := s.ID
			id.Replica = n
			ids = append(ids, id)
		}
	}
	holders, err := rank.Holders(ctx, nc, ids)
	if err != nil {
		return nil, nil, fmt.Errorf("who drives servers: %w", err)
	}
	taken = map[int]map[int]bool{}
	for i, info := range holders {
		stage := ids[i].Stage
		if taken[stage] == nil {
			taken[stage] = map[int]bool{}
		}
		if info == nil {
			continue
		}
		taken[stage][ids[i].Replica] = true
		if by != nil || info.Server != server || stage != stages[0].ID.Stage {
			continue
		}
		if other, ok := errors.AsType[*rank.TakenError](rank.Free(ctx, nc, info.RankID)); ok {
			by = &other.By
		}
	}
	return taken, by, nil
}

// yield leaves a server to the process that drives it, and says once which that is.
func (f *Fleet) yield(p *place, server string, by *protocol.RankInfo) {
	if p.other == by.Incarnation {
		return
	}
	p.other = by.Incarnation
	f.cfg.Logger.Info("another process drives a server", "target", server, "host", by.Host, "pid", by.PID, "as",
		by.Text())
}

// seats gives a found server the lowest replica of each stage that nobody has.
func (f *Fleet) seats(stages []Seat, one discover.Found, taken map[int]map[int]bool) ([]Seat, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Seat
	for _, s := range stages {
		s.Target = s.Target.at(one)
		s.ID.Replica = 0
		ours := f.replicas[s.ID.Stage]
		if ours == nil {
			ours = map[int]bool{}
			f.replicas[s.ID.Stage] = ours
		}
		for ours[s.ID.Replica] || taken[s.ID.Stage][s.ID.Replica] {
			s.ID.Replica++
		}
		if s.ID.Replica >= maxReplicas {
			return out, fmt.Errorf("stage %s has %d replicas, and no place for %s", s.Stage, maxReplicas, s)
		}
		ours[s.ID.Replica] = true
		out = append(out, s)
	}
	if e := engines[out[0].Engine]; e != nil && e.layout().together {
		common := newShared(out[0].ID)
		for i := range out {
			out[i].shared = common
		}
	}
	return out, nil
}

// quit has a found server take part no more, and gives its replicas back.
func (f *Fleet) quit(p *place) error {
	var errs []error
	for _, j := range p.joined {
		errs = append(errs, f.leave(j))
	}
	if len(p.seats) > 0 {
		f.gone(p.seats[0].Target)
	}
	f.mu.Lock()
	for _, s := range p.seats {
		delete(f.replicas[s.ID.Stage], s.ID.Replica)
	}
	f.mu.Unlock()
	p.seats, p.joined = nil, nil
	return errors.Join(errs...)
}

// part has servers leave that are not found any more.
func (f *Fleet) part(here map[string]*place, found []discover.Found) {
	there := map[string]bool{}
	for _, one := range found {
		there[one.Address] = true
	}
	for address, p := range here {
		if there[address] {
			continue
		}
		if p.missed++; p.missed < goneAfter {
			continue
		}
		delete(here, address)
		if p.joined == nil {
			continue
		}
		server := p.seats[0].String()
		if err := f.quit(p); err != nil {
			f.cfg.Logger.Warn("a server is gone", "target", server, "err", err)
		}
		f.cfg.Logger.Info("a server is gone", "target", server)
	}
}
