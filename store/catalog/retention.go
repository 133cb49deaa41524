package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
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
	errs := []error{c.clear(now)}
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

// clear removes what is left of runs whose deletion was cut off, and of uploads whose server was killed.
func (c *Catalog) clear(now time.Time) error {
	root, err := os.OpenRoot(c.store.Root())
	if missing(err) {
		return nil // somebody has removed all
	}
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
	unfinished, err := c.store.List()
	for _, info := range unfinished {
		if !info.Complete && cutUpload(info.Dir, now) {
			errs = append(errs, c.erase(filepath.Base(info.Dir)))
		}
	}
	return errors.Join(append(errs, err)...)
}

// cutAfter is how long nothing has come of an upload that nobody will finish: a client that sends nothing
// for half a minute is cut off.
const cutAfter = time.Hour

// cutUpload reports whether the unfinished run in dir is an upload, of this process or another, that has
// been cut off. Runs of sessions have other files.
func cutUpload(dir string, now time.Time) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil || len(entries) != 1 || entries[0].Name() != uploadDir {
		return false
	}
	files, err := fs.ReadDir(root.FS(), uploadDir)
	for _, e := range append(files, entries...) {
		st, bad := e.Info()
		if bad != nil || now.Sub(st.ModTime()) < cutAfter {
			return false
		}
	}
	return err == nil
}

// Keep sweeps until ctx ends, and logs what it deletes. Under a policy that deletes nothing it removes
// remains alone.
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
		every := keepEvery
		if !p.On() {
			every = cutAfter
		}
		if wait.For(ctx, every) != nil {
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
