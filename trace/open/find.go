package open

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
)

// Source is one file, directory or stream that can be read, and holds one trace or more.
type Source struct {
	Path    string
	Format  string // name of its format; "" for an archive and for standard input
	Archive bool   // of files that may be traces
	Size    int64  // bytes on disk; 0 for standard input
	Packed  bool

	// Twins are files with the same beginning: the same trace packed and not, or a copy.
	// The whole one is read.
	Twins []string

	found bool   // in a directory: what cannot be read is left out
	whole bool   // its text ends as one does
	head  []byte // its first bytes, unpacked
}

// Left is a file that is not read, or a trace that does not count.
type Left struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Memory estimates what the source's traces take in memory, in bytes.
func (s *Source) Memory() int64 { return s.memory() }

// memory estimates what the trace takes.
func (s *Source) memory() int64 {
	if s.Packed || s.Archive {
		return int64(float64(s.Size) * memoryOfPacked)
	}
	return int64(float64(s.Size) * memoryOfPlain)
}

// maxDirDepth bounds how deep a directory is searched: a store holds a directory a run, a
// run one a stage, and engines put one a capture, a rank and a host around their files.
const maxDirDepth = 6

// Find lists the traces at paths in their order, and those of one directory sorted by
// name. A path that is given by name need not look like a trace; files of a directory
// must. An empty directory is an error.
func Find(paths []string) ([]Source, error) {
	list, _, err := Survey(paths)
	return Join(list), err
}

// Survey is Find that also says which files of directories are left out, and why. Files
// that hold the same trace are all there; see Join.
func Survey(paths []string) ([]Source, []Left, error) {
	var out []Source
	var left []Left
	for _, p := range paths {
		if p == Stdin {
			out = append(out, Source{Path: p})
			continue
		}
		st, err := os.Stat(p)
		if err != nil {
			return nil, nil, fmt.Errorf("open trace: %w", err)
		}
		if !st.IsDir() && !st.Mode().IsRegular() {
			return nil, nil, &KindError{Path: p, Mode: st.Mode()}
		}
		if !st.IsDir() {
			s, reason, err := look(p, st.Size())
			if err != nil {
				return nil, nil, err
			}
			if reason != "" {
				s.Format = "kineto" // its reader says best what is wrong
			}
			out = append(out, s)
			continue
		}
		found, others, err := inDir(p)
		if err != nil {
			return nil, nil, err
		}
		if len(found) == 0 {
			return nil, others, &EmptyError{Dir: p, Left: others}
		}
		out, left = append(out, found...), append(left, others...)
	}
	return out, left, nil
}

// KindError reports that a path is neither a file nor a directory: a pipe, a socket, a device.
// Opening one could wait for ever.
type KindError struct {
	Path string
	Mode fs.FileMode
}

// Error implements error.
func (e *KindError) Error() string {
	if e.Mode&fs.ModeNamedPipe != 0 {
		return fmt.Sprintf("open trace: %s is a pipe, which can be read only once: give it as standard input, -",
			e.Path)
	}
	return fmt.Sprintf("open trace: %s is no file and no directory (%s)", e.Path, e.Mode.Type())
}

// EmptyError reports that a directory or an archive holds no trace.
type EmptyError struct {
	Dir     string
	Archive bool   // Dir is an archive
	Left    []Left // what it holds
}

// named bounds the files that messages name.
const named = 4

// Error implements error.
func (e *EmptyError) Error() string {
	if e.Archive {
		return fmt.Sprintf("%s: an archive without a trace; it holds %s", e.Dir, cmp.Or(e.holds(), "no file"))
	}
	text := fmt.Sprintf("open trace: %s: no trace in this directory: expected files like *%s, packed or not, *_ascend_pt or archives of them",
		e.Dir, strings.Join(format.Extensions(), ", *"))
	if files := e.holds(); files != "" {
		text += "; it holds " + files
	}
	return text
}

// holds names what is there instead, a few files of it.
func (e *EmptyError) holds() string {
	var files []string
	for i, l := range e.Left {
		if i == named {
			files = append(files, fmt.Sprintf("and %d more", len(e.Left)-named))
			break
		}
		rel, err := filepath.Rel(e.Dir, l.Path)
		if err != nil {
			rel = l.Path
		}
		files = append(files, fmt.Sprintf("%s (%s)", rel, l.Reason))
	}
	return strings.Join(files, ", ")
}

// inDir lists the traces below dir and what else there is.
func inDir(dir string) (out []Source, left []Left, err error) {
	skip := func(path, reason string) { left = append(left, Left{path, reason}) }
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil {
			if rel == "." {
				return err
			}
			skip(path, reasonOf(err))
			if d != nil && d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			f, is := format.OfDir(path)
			switch {
			case is:
				out = append(out, Source{Path: path, Format: f.Name, Size: viewSize(path), found: true})
				return filepath.SkipDir
			case strings.HasPrefix(d.Name(), ".") && rel != ".":
				return filepath.SkipDir // hidden from everybody
			case strings.Count(rel, string(filepath.Separator)) >= maxDirDepth:
				skip(path, fmt.Sprintf("a directory more than %d levels down: give its path", maxDirDepth))
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		s, reason := inFile(path, d)
		if f, _ := format.Lookup(s.Format); reason == "" && f.Aside {
			reason = f.Title + ": give its path to read it too"
		}
		if reason != "" {
			skip(path, reason)
			return nil
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open trace: %w", err)
	}
	return out, left, nil
}

// inFile looks at a file of a directory; reason says why it is left out.
func inFile(path string, d fs.DirEntry) (s Source, reason string) {
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		return s, "a link: not followed"
	case !d.Type().IsRegular():
		return s, "no regular file"
	}
	st, err := d.Info()
	if err != nil {
		return s, reasonOf(err)
	}
	switch {
	case st.Size() == 0:
		return s, "empty: still being written, or its writer ended early"
	case strings.HasSuffix(path, ".tmp"):
		return s, "still being written"
	}
	s, reason, err = look(path, st.Size())
	if err != nil {
		return s, reasonOf(err)
	}
	if title, is := zipped[strings.ToLower(filepath.Ext(path))]; is && s.Archive {
		return s, title
	}
	s.found = true
	return s, reason
}

// zipped are files that are zip archives inside and hold no traces, by the ends of their names.
var zipped = map[string]string{
	".xlsx": "a workbook", ".docx": "a document", ".pptx": "slides", ".npz": "arrays of NumPy",
	".pt": "a checkpoint of torch", ".pth": "a checkpoint of torch", ".whl": "a package of Python",
	".jar": "a package of Java",
}

// reasonOf is an error without the path that is named beside it.
func reasonOf(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

func viewSize(dir string) int64 {
	st, err := os.Stat(filepath.Join(dir, "ASCEND_PROFILER_OUTPUT", "trace_view.json"))
	if err != nil {
		return 0
	}
	return st.Size()
}

// look tells what the file at path is; reason says why it holds no trace, "" if it may.
func look(path string, size int64) (s Source, reason string, err error) {
	f, err := plainfile.ByPath(path)
	if err != nil {
		return s, "", fmt.Errorf("open trace: %w", err)
	}
	defer f.Close()
	s = Source{Path: path, Size: size}
	first, err := readHead(f, format.SniffFirst)
	if err != nil {
		return s, "", fmt.Errorf("open trace %s: %w", path, err)
	}
	s.Packed = unpack.Packed(first)
	k, err := sniff(io.MultiReader(bytes.NewReader(first), f))
	if err != nil {
		return s, "damaged: " + err.Error(), nil
	}
	s.head, s.Archive = k.head[:min(len(k.head), twinBytes)], k.archive
	if s.Archive || k.known && k.format.Read != nil {
		if !s.Archive {
			s.Format = k.format.Name
		}
		s.whole = !s.Packed && endsWhole(f, size)
		return s, "", nil
	}
	return s, k.reason(), nil
}

// kind is what the beginning of some data tells of it.
type kind struct {
	head    []byte // unpacked
	format  format.Format
	known   bool
	archive bool
}

// reason says why no trace is read from such data.
func (k *kind) reason() string {
	switch {
	case k.known:
		return k.format.Title
	case unpack.Foreign(k.head) != "":
		return unpack.Foreign(k.head)
	case len(bytes.TrimSpace(k.head)) == 0:
		return "nothing could be unpacked or read"
	case bytes.IndexByte(k.head[:min(len(k.head), format.SniffFirst)], 0) >= 0:
		return "binary data of an unknown format"
	}
	return "text of an unknown format"
}

// sniff tells what r holds by its beginning. Most data show at once what they are.
func sniff(r io.Reader) (k kind, err error) {
	u, err := unpack.New(r)
	if err != nil {
		return k, err
	}
	defer u.Close()
	for n := format.SniffFirst; ; n *= 4 {
		more, err := readHead(u, n-len(k.head))
		if err != nil {
			return k, err
		}
		k.head = append(k.head, more...)
		k.format, k.known = format.Of(k.head)
		if k.known && k.format.Read != nil || len(k.head) < n || n >= format.HeadBytes {
			k.archive = !k.known && unpack.ArchiveOf(k.head) != unpack.NoArchive
			return k, nil
		}
	}
}

// readHead reads up to n bytes.
func readHead(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	k, err := io.ReadFull(r, b)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:k], err
}

// endsWhole reports whether the file ends with a bracket that closes a JSON text.
func endsWhole(f *os.File, size int64) bool {
	b := make([]byte, min(size, 64))
	if _, err := f.ReadAt(b, size-int64(len(b))); err != nil {
		return false
	}
	b = bytes.TrimRight(b, " \t\r\n")
	return len(b) > 0 && (b[len(b)-1] == '}' || b[len(b)-1] == ']')
}

const (
	// twinBytes is how many first bytes of two files must be equal for both to hold the same trace.
	// Among them are events with times in nanoseconds, which no two ranks share.
	twinBytes = 32 << 10
	// twinLeast is the fewest bytes that prove anything, unless the files are equal as a whole.
	twinLeast = 1 << 10
)

// Join joins sources that hold the same trace: NAME.json beside NAME.json.gz, a copy, a
// half-written one. The joined source takes the place of the first; the file that seems whole is
// read.
func Join(list []Source) []Source {
	same := map[string][]int{} // places in out by the first bytes
	var out []Source
	for _, s := range list {
		if len(s.head) == 0 || s.Archive {
			out = append(out, s)
			continue
		}
		key := string(s.head[:min(len(s.head), twinLeast)])
		at := slices.IndexFunc(same[key], func(i int) bool { return sameTrace(&out[i], &s) })
		if at < 0 {
			same[key] = append(same[key], len(out))
			out = append(out, s)
			continue
		}
		o := &out[same[key][at]]
		if filepath.Clean(o.Path) == filepath.Clean(s.Path) {
			continue
		}
		if better(&s, o) {
			s.Twins = append(o.Twins, o.Path)
			*o = s
		} else {
			o.Twins = append(o.Twins, s.Path)
		}
	}
	for i := range out {
		out[i].head = nil
	}
	return out
}

// sameTrace reports whether two files begin alike as far as both go, and nothing in their
// names says that they are of different ranks.
func sameTrace(a, b *Source) bool {
	n := min(len(a.head), len(b.head))
	if !bytes.Equal(a.head[:n], b.head[:n]) || n < twinLeast && len(a.head) != len(b.head) {
		return false
	}
	return sameOwner(a.Path, b.Path)
}

// better reports whether a rather than b is the file to read. A text that ends as a whole one does
// is preferred, then a packed file, which is written from a whole one, then the larger file, then
// the one with the shorter path.
func better(a, b *Source) bool {
	grade := func(s *Source) int {
		switch {
		case s.whole:
			return 2
		case s.Packed:
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(grade(a), grade(b)), cmp.Compare(a.Size, b.Size),
		cmp.Compare(len(b.Path), len(a.Path))) > 0
}
