package catalog

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/store"
)

// absentName is a file in an archive that lists the files which the manifest names and which are
// missing.
const absentName = "MISSING.txt"

// Archive writes a finished run as a tar archive: its manifest, all files that the manifest lists,
// and the run's labels, in a directory named like the run's. The archive is not compressed, because
// recordings and traces are. Missing files are listed in MISSING.txt. The end of ctx ends it early.
// If there is no such run, it returns an error before anything is written.
func (c *Catalog) Archive(ctx context.Context, id string, w io.Writer) error {
	info, err := c.find(id)
	if err != nil {
		return err
	}
	r, err := store.OpenRun(info.Dir)
	if err != nil {
		return err
	}
	defer r.Close()
	names, err := archived(r, info.Dir)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	base := filepath.Base(info.Dir)
	var absent []string
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := addFile(tw, r, base, name)
		if missing(err) || errors.Is(err, store.ErrNotFound) {
			absent = append(absent, name)
			continue
		}
		if err != nil {
			return fmt.Errorf("archive %s of run %s: %w", name, id, err)
		}
	}
	if len(absent) > 0 {
		text := "The manifest has these files, and they are not in the run's directory:\n" +
			strings.Join(absent, "\n") + "\n"
		h := &tar.Header{Name: base + "/" + absentName, Mode: 0o600, Size: int64(len(text)), ModTime: time.Now(),
			Format: tar.FormatPAX}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, text); err != nil {
			return err
		}
	}
	return tw.Close()
}

// archived lists the files of a run that belong into its archive.
func archived(r *store.Run, dir string) ([]string, error) {
	m, err := r.Manifest()
	if err != nil {
		return nil, err
	}
	names := []string{store.ManifestName}
	if _, err := os.Lstat(filepath.Join(dir, LabelsName)); err == nil {
		names = append(names, LabelsName)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	lists, err := fs.Glob(root.FS(), store.LateDir+"/*.json")
	if err != nil {
		return nil, err
	}
	for _, name := range lists {
		if store.IsList(name) {
			names = append(names, name)
		}
	}
	for _, a := range m.Artifacts() {
		names = append(names, a.Name)
	}
	slices.Sort(names[1:])
	return slices.Compact(names), nil
}

// addFile adds one file of the run to the archive, with the length that it has when it is opened.
func addFile(tw *tar.Writer, r *store.Run, base, name string) (err error) {
	f, err := r.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	err = tw.WriteHeader(&tar.Header{Name: base + "/" + name, Mode: 0o600, Size: st.Size(), ModTime: st.ModTime(),
		Format: tar.FormatPAX})
	if err != nil {
		return err
	}
	_, err = io.CopyN(tw, f, st.Size())
	return err
}
