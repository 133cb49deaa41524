package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kinetoscope/kinetoscope/driver/server/discover"
	"github.com/kinetoscope/kinetoscope/internal/wait"
)

const (
	// discoverEvery is how often a fleet asks which servers are there: pods take longer to load a model.
	discoverEvery = 10 * time.Second
	// goneAfter is how many answers in a row have to lack a server before its rank leaves: resolvers turn
	// many addresses around and answer with some of them.
	goneAfter = 3
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

// place is a found server that takes part.
type place struct {
	seat   Seat
	joined *joined // nil: it could not join
	missed int     // answers in a row without it
}

// follow has the servers take part that are found where a seat's target says: each as a replica of the
// seat's stage, from when it is found until it is gone.
func (f *Fleet) follow(ctx context.Context, nc *nats.Conn, s Seat) {
	here := map[string]*place{}
	said := ""
	for {
		found, err := f.cfg.Finder.Find(ctx, s.Discover)
		if err == nil {
			err = f.meet(ctx, nc, s, here, found)
			f.part(s, here, found)
		}
		if ctx.Err() != nil {
			return
		}
		if text := fmt.Sprint(err); err != nil && text != said {
			f.cfg.Logger.Warn("servers are looked for", "target", s.String(), "err", err)
		}
		said = fmt.Sprint(err)
		if wait.For(ctx, f.cfg.every) != nil {
			return
		}
	}
}

// meet has servers join that were not there before.
func (f *Fleet) meet(ctx context.Context, nc *nats.Conn, s Seat, here map[string]*place,
	found []discover.Found) error {
	var errs []error
	for _, one := range found {
		p := here[one.Address]
		if p == nil {
			p = &place{seat: s}
			p.seat.Target = s.Target.at(one)
			p.seat.ID.Replica = f.replica(s.ID.Stage)
			here[one.Address] = p
		}
		p.missed = 0
		if p.joined != nil {
			continue
		}
		j, err := f.add(ctx, ctx, nc, p.seat)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.joined = j
	}
	return errors.Join(errs...)
}

// part has servers leave that are not found any more, and gives their replicas' numbers back.
func (f *Fleet) part(s Seat, here map[string]*place, found []discover.Found) {
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
		if p.joined != nil {
			if err := f.leave(p.joined); err != nil {
				f.cfg.Logger.Warn("a server is gone", "target", p.seat.String(), "err", err)
			}
		}
		f.mu.Lock()
		delete(f.replicas[s.ID.Stage], p.seat.ID.Replica)
		f.mu.Unlock()
		f.cfg.Logger.Info("a server is gone", "target", p.seat.String())
	}
}

// replica returns the lowest number that no replica of a stage has, and takes it.
func (f *Fleet) replica(stage int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := f.replicas[stage]
	if taken == nil {
		taken = map[int]bool{}
		f.replicas[stage] = taken
	}
	n := 0
	for taken[n] {
		n++
	}
	taken[n] = true
	return n
}
