package open

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/trace/ascend"
)

// Kind is what a source is, told by its content.
type Kind uint8

// The kinds of source.
const (
	JSON   Kind = iota // Kineto and its likes, plain or packed
	Native             // a recording of package profiler
	Ascend             // a directory of torch_npu
	Pipe               // standard input
)

// Source is one trace that can be read.
type Source struct {
	Path   string
	Kind   Kind
	Size   int64 // bytes on disk; 0 for Pipe
	Packed bool
}

// memory estimates what the trace takes.
func (s *Source) memory() int64 {
	if s.Packed {
		return int64(float64(s.Size) * memoryOfPacked)
	}
	return int64(float64(s.Size) * memoryOfPlain)
}

// maxDirDepth bounds how deep a directory is searched: a run holds one directory a
// stage, and a store one a run.
const maxDirDepth = 4

// traceName tells by its name a file of a directory that is worth looking into.
var traceName = regexp.MustCompile(`(?i)\.(json|json\.gz|json\.zst|json\.zstd|rec)$`)

// Find lists the traces at paths in their order, and those of one directory sorted by
// name. A path that is given by name need not look like a trace; files of a directory
// must. An empty directory is an error.
func Find(paths []string) ([]Source, error) {
	var out []Source
	for _, p := range paths {
		if p == Stdin {
			out = append(out, Source{Path: p, Kind: Pipe})
			continue
		}
		st, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("open trace: %w", err)
		}
		if !st.IsDir() {
			s, _, err := look(p, st.Size())
			if err != nil {
				return nil, err
			}
			out = append(out, s)
			continue
		}
		found, err := inDir(p)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("open trace: %s: no trace in this directory: expected *.json, *.json.gz, *.json.zst, recordings or *_ascend_pt", p)
		}
		out = append(out, found...)
	}
	return out, nil
}

// inDir lists the traces below dir.
func inDir(dir string) ([]Source, error) {
	var out []Source
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			if ascend.IsDir(path) {
				out = append(out, Source{Path: path, Kind: Ascend, Size: viewSize(path)})
				return filepath.SkipDir
			}
			if strings.HasPrefix(d.Name(), ".") && rel != "." || strings.Count(rel, string(filepath.Separator)) >= maxDirDepth {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !traceName.MatchString(d.Name()) {
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		s, is, err := look(path, st.Size())
		if err == nil && is {
			out = append(out, s)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	return out, nil
}

func viewSize(dir string) int64 {
	st, err := os.Stat(filepath.Join(dir, "ASCEND_PROFILER_OUTPUT", "trace_view.json"))
	if err != nil {
		return 0
	}
	return st.Size()
}

// lookBytes is how much of a file is looked at. The keys before the events of a large
// job, with its groups of ranks, fit.
const (
	lookBytes = 256 << 10
	lookFirst = 4 << 10
)

// look tells what the file at path is; is reports whether it looks like a trace.
func look(path string, size int64) (s Source, is bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, false, fmt.Errorf("open trace: %w", err)
	}
	defer f.Close()
	s = Source{Path: path, Size: size}
	head, err := readHead(f, 64<<10)
	if err != nil {
		return s, false, fmt.Errorf("open trace %s: %w", path, err)
	}
	if isNative(head) {
		s.Kind = Native
		return s, true, nil
	}
	text := head
	var unpack io.ReadCloser
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		if z, err := gzip.NewReader(io.MultiReader(bytes.NewReader(head), f)); err == nil {
			unpack = z
		}
		s.Packed = true
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		if z, err := zstd.NewReader(io.MultiReader(bytes.NewReader(head), f), zstd.WithDecoderConcurrency(1)); err == nil {
			unpack = z.IOReadCloser()
		}
		s.Packed = true
	default:
		more, _ := readHead(f, lookBytes-len(head))
		text = append(text, more...)
	}
	if unpack == nil {
		return s, looksLikeTrace(text), nil
	}
	defer unpack.Close()
	text = nil
	for n := lookFirst; ; n *= 4 { // most show at once what they are
		more, _ := readHead(unpack, n-len(text)) // damage shows when the file is read
		text = append(text, more...)
		if is = looksLikeTrace(text); is || len(text) < n || n >= lookBytes {
			return s, is, nil
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

var arrayOfEvents = regexp.MustCompile(`^\[\s*(\]|\{[^{}]*"(ph|pid)"\s*:)`)

func looksLikeTrace(text []byte) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), " \t\r\n")
	if len(text) == 0 {
		return false
	}
	if text[0] == '[' {
		return arrayOfEvents.Match(text)
	}
	return text[0] == '{' && (bytes.Contains(text, []byte(`"traceEvents"`)) || bytes.Contains(text, []byte(`"deviceProperties"`)))
}

func isNative(head []byte) bool {
	n := len(format.Magic) - 1 // the last byte is the version
	return len(head) > n && string(head[:n]) == format.Magic[:n]
}
