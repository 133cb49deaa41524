package tables

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kinetoscope/kinetoscope/trace/index"
)

// Cache keeps directories of tables, so that a second question about the same traces reads
// no trace again. Its directory belongs to the user alone.
type Cache struct {
	Path string
	// MaxBytes bounds what is kept; those least recently used go first. 0 means
	// DefaultCacheBytes.
	MaxBytes int64
}

// DefaultCacheBytes is some hundred million slices: a day's work, and little of a disk.
const DefaultCacheBytes = 10 << 30

// Source is a file that tables are made of.
type Source struct {
	Path          string
	Size, ModTime int64 // bytes, Unix ns
}

// Key names the tables of sources, in this order, as this version writes them.
func Key(sources []Source, only []string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %q\n", Version(), index.Version, only)
	for _, s := range sources {
		fmt.Fprintf(h, "%q %d %d\n", s.Path, s.Size, s.ModTime)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// Get returns the directory of tables with this key, which make fills if it is not there
// yet. What make leaves when it fails is removed; a directory that is there is whole.
func (c Cache) Get(ctx context.Context, key string, make func(ctx context.Context, dir string) error) (string, error) {
	path := filepath.Join(c.Path, key)
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		now := time.Now()
		// The time says when it was last used; where it cannot be set, it goes sooner.
		_ = os.Chtimes(path, now, now)
		return path, nil
	}
	if err := os.MkdirAll(c.Path, 0o700); err != nil {
		return "", fmt.Errorf("make cache of tables: %w", err)
	}
	tmp, err := os.MkdirTemp(c.Path, ".new-")
	if err != nil {
		return "", fmt.Errorf("make cache of tables: %w", err)
	}
	if err := make(ctx, tmp); err != nil {
		return "", errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		if st, e := os.Stat(path); e == nil && st.IsDir() { // another process was first
			return path, os.RemoveAll(tmp)
		}
		return "", errors.Join(fmt.Errorf("keep tables: %w", err), os.RemoveAll(tmp))
	}
	return path, c.prune(key)
}

// staleAfter is the age at which an unfinished directory counts as left by a killed process.
const staleAfter = 24 * time.Hour

// prune removes the least recently used directories beyond the bound, but never keep.
func (c Cache) prune(keep string) error {
	entries, err := os.ReadDir(c.Path)
	if err != nil {
		return fmt.Errorf("prune cache of tables: %w", err)
	}
	type kept struct {
		path string
		used time.Time
		size int64
	}
	var list []kept
	var errs []error
	for _, d := range entries {
		st, err := d.Info()
		if err != nil || !d.IsDir() {
			continue
		}
		path := filepath.Join(c.Path, d.Name())
		if d.Name()[0] == '.' {
			if time.Since(st.ModTime()) > staleAfter {
				errs = append(errs, os.RemoveAll(path))
			}
			continue
		}
		if d.Name() != keep {
			list = append(list, kept{path, st.ModTime(), sizeOf(path)})
		}
	}
	left := cmp.Or(c.MaxBytes, DefaultCacheBytes) - sizeOf(filepath.Join(c.Path, keep))
	slices.SortFunc(list, func(a, b kept) int { return b.used.Compare(a.used) })
	for _, k := range list {
		if left -= k.size; left < 0 {
			errs = append(errs, os.RemoveAll(k.path))
		}
	}
	return errors.Join(errs...)
}

// sizeOf returns the bytes of the files under path; what vanishes meanwhile counts nothing.
func sizeOf(path string) (n int64) {
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if st, err := d.Info(); err == nil {
			n += st.Size()
		}
		return nil
	})
	return n
}
