package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/units"
)

// Policy says how long runs stay. Zero is for ever.
type Policy struct {
	MaxAge   time.Duration // since a run's start
	MaxBytes int64         // of all runs together
}

// On reports whether anything is ever deleted.
func (p Policy) On() bool { return p.MaxAge > 0 || p.MaxBytes > 0 }

// Removed is a run that retention has deleted.
type Removed struct {
	ID     string    `json:"id"`
	Prefix string    `json:"prefix,omitempty"`
	Bytes  int64     `json:"bytes"`
	At     time.Time `json:"at"`
	Why    string    `json:"why"`
}

const (
	// keepEvery is how often the policy is applied; ages are given in hours and days.
	keepEvery = time.Minute
	// maxRemoved bounds the deleted runs that are remembered for the page.
	maxRemoved = 50
)

// doomed is a run that is to be deleted, and why.
type doomed struct {
	item Item
	why  string
}

// choose returns the runs to delete: those that are too old, then the oldest until the rest fits
// the bytes. Pinned runs and the youngest run stay, whatever they take.
func (p Policy) choose(all []Item, now time.Time) (out []doomed) {
	runs := slices.Clone(all)
	slices.SortFunc(runs, func(a, b Item) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	total := int64(0)
	for i := range runs {
		total += runs[i].Bytes
	}
	for i := range runs {
		it := runs[i]
		if it.Pinned || i == len(runs)-1 {
			continue
		}
		age := now.Sub(it.StartedAt)
		switch {
		case p.MaxAge > 0 && age > p.MaxAge:
			out = append(out, doomed{it, fmt.Sprintf("it is older than %s", days(p.MaxAge))})
		case p.MaxBytes > 0 && total > p.MaxBytes:
			out = append(out, doomed{it, fmt.Sprintf("the runs have %s, more than %s, and it is the oldest",
				units.Bytes(total), units.Bytes(p.MaxBytes))})
		default:
			continue
		}
		total -= it.Bytes
	}
	return out
}

// days writes a policy's age.
func days(d time.Duration) string {
	if day := 24 * time.Hour; d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

// Sweep deletes the runs that the policy chooses, and the remains of deletions that were cut off.
// The error joins those of runs that could not be deleted; the others are deleted all the same.
func (c *Catalog) Sweep(ctx context.Context, p Policy, now time.Time) ([]Removed, error) {
	errs := []error{c.clear()}
	all, err := c.All()
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	var out []Removed
	for _, d := range p.choose(all, now) {
		if err := c.Delete(ctx, d.item.ID); err != nil {
			errs = append(errs, fmt.Errorf("run %s stays: %w", d.item.ID, err))
			continue
		}
		out = append(out, Removed{d.item.ID, d.item.Prefix, d.item.Bytes, now, d.why})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range out {
		c.removed = slices.Insert(c.removed, 0, r)
	}
	c.removed = c.removed[:min(len(c.removed), maxRemoved)]
	return out, errors.Join(errs...)
}

// clear removes what is left of runs whose deletion was cut off.
func (c *Catalog) clear() error {
	root, err := os.OpenRoot(c.store.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	errs := []error{err, dir.Close()}
	for _, name := range names {
		if strings.HasPrefix(name, deletedPrefix) {
			errs = append(errs, root.RemoveAll(name))
		}
	}
	return errors.Join(errs...)
}

// Keep sweeps until ctx ends, and logs what it deletes.
func (c *Catalog) Keep(ctx context.Context, p Policy, log *slog.Logger) {
	c.mu.Lock()
	c.policy = p
	c.mu.Unlock()
	for {
		gone, err := c.Sweep(ctx, p, time.Now())
		for _, r := range gone {
			log.Info("run deleted by retention", "run", r.ID, "prefix", r.Prefix, "bytes", r.Bytes, "why", r.Why)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("retention", "err", err)
		}
		if wait.For(ctx, keepEvery) != nil {
			return
		}
	}
}

// Retention returns the policy that Keep follows and the runs that it deleted, newest first.
func (c *Catalog) Retention() (Policy, []Removed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policy, slices.Clone(c.removed)
}
