package server

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/plainfile"
)

// folder is the directory in which a server's files appear. The server, or whoever else may write
// above it, can rename directories and replace files at any time. So all work goes through a handle
// on the target's directory that was opened when the session was armed, and only plain files are
// read: the server hands over no file that it only links to.
type folder struct {
	root *os.Root
	sub  string // of the session's own directory below root; ".": files appear in root itself
}

// openFolder opens the directory dir. If own is not "" it names the session's directory below dir,
// which need not be there yet. The caller ends with close.
func openFolder(dir, own string) (*folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	p := &folder{root: root, sub: "."}
	if own != "" {
		p.sub = filepath.Base(own)
	}
	return p, nil
}

func (p *folder) close() error { return p.root.Close() }

// there reports whether the directory is there, and is no link to another one.
func (p *folder) there() bool {
	if p.sub == "." {
		return true
	}
	st, err := p.root.Lstat(p.sub)
	return err == nil && st.IsDir()
}

// list returns the regular files by name, none if the directory does not exist yet. If deep is
// set it includes the files of its subdirectories, as DIR/NAME.
func (p *folder) list(deep bool) map[string]seen {
	out := map[string]seen{}
	if p.there() {
		p.listIn(".", deep, out)
	}
	return out
}

// listIn adds the files of a directory of the folder; it follows no links.
func (p *folder) listIn(dir string, deep bool, out map[string]seen) {
	f, err := p.root.Open(filepath.Join(p.sub, dir))
	if err != nil {
		return
	}
	entries, _ := f.ReadDir(maxListed) // entries read before an error are used
	_ = f.Close()
	for _, e := range entries {
		if len(out) >= maxListed {
			return
		}
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			if deep {
				p.listIn(name, false, out)
			}
			continue
		}
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() {
			out[name] = seen{st.Size(), st.ModTime()}
		}
	}
}

// odd returns what is no regular file of the entries whose names begin with prefix: links, pipes. The server is
// believed to have put them there, and they are not taken.
func (p *folder) odd(prefix string) (names []string) {
	if !p.there() {
		return nil
	}
	f, err := p.root.Open(p.sub)
	if err != nil {
		return nil
	}
	defer f.Close()
	entries, _ := f.ReadDir(maxListed) // entries read before an error are used
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && !e.IsDir() && !e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// open opens a file that list has named.
func (p *folder) open(name string) (*os.File, int64, error) {
	if !p.there() {
		return nil, 0, fs.ErrNotExist
	}
	return plainfile.Open(p.root, filepath.Join(p.sub, name), plainfile.AnyUser)
}

// unpacked opens a trace, uncompressed.
func (p *folder) unpacked(name string) (io.Reader, io.Closer, error) {
	f, _, err := p.open(name)
	if err != nil || !strings.HasSuffix(name, ".gz") {
		return f, f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return z, f, nil
}

// content is a file for a rank's hand-over.
func (p *folder) content(name string) func() (*io.SectionReader, io.Closer, error) {
	return func() (*io.SectionReader, io.Closer, error) {
		f, size, err := p.open(name)
		return rank.Section(f, size, err)
	}
}

// remove removes a file, and its directory if that is one below the folder and empty now. That the
// file is gone is no error.
func (p *folder) remove(name string) error {
	if !p.there() {
		return nil
	}
	err := p.root.Remove(filepath.Join(p.sub, name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if dir := filepath.Dir(name); dir != "." {
		_ = p.root.Remove(filepath.Join(p.sub, dir)) // succeeds if it is empty now
	}
	return err
}

// removeOwn removes the session's own directory: with all in it, or only if it is empty.
func (p *folder) removeOwn(all bool) error {
	if p.sub == "." || !p.there() {
		return nil
	}
	if all {
		return p.root.RemoveAll(p.sub)
	}
	_ = p.root.Remove(p.sub) // the last stage to be removed leaves it empty
	return nil
}
