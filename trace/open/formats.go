package open

import (
	"bytes"
	"context"
	"io"
	"regexp"

	native_format "github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ascend"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/gotrace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/memsnap"
	"github.com/kinetoscope/kinetoscope/trace/native"
	"github.com/kinetoscope/kinetoscope/trace/nsys"
	"github.com/kinetoscope/kinetoscope/trace/perfetto"
	"github.com/kinetoscope/kinetoscope/trace/pprof"
	"github.com/kinetoscope/kinetoscope/trace/proton"
	"github.com/kinetoscope/kinetoscope/trace/rocprof"
	"github.com/kinetoscope/kinetoscope/trace/sglangomni"
	"github.com/kinetoscope/kinetoscope/trace/sqlite"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
	"github.com/kinetoscope/kinetoscope/trace/vllmomni"
	"github.com/kinetoscope/kinetoscope/trace/xla"
	"github.com/kinetoscope/kinetoscope/trace/xplane"
)

// The ranks of sniffs: a mark at a file's beginning is surer than words in a text.
const (
	byMark  = 3
	byEvent = 2
	byWords = 1
	byForm  = 0
)

func init() {
	format.Register(format.Format{
		Name: "kineto", Title: "Chrome JSON of torch.profiler (Kineto)", Extensions: []string{".json", ".trace"},
		Sniff: chromeJSON, Rank: byEvent, Read: readKineto,
	})
	format.Register(format.Format{
		Name: native.Format, Title: "recording of package profiler",
		Extensions: []string{native_format.Ext, ".rec", ".kinrec"},
		Sniff:      recording, Rank: byMark, Read: readNative,
	})
	format.Register(format.Format{
		Name: "ascend", Title: "Chrome JSON of torch_npu (Ascend)", SniffDir: ascend.IsDir, Read: readAscend,
	})
	format.Register(format.Format{
		Name: "go", Title: "execution trace of a Go program", Extensions: []string{".trace", ".out"},
		Sniff: gotrace.Sniff, Rank: byMark, Read: stream(gotrace.Read),
	})
	format.Register(format.Format{
		Name: "nsys", Title: "export of Nsight Systems (SQLite)", Extensions: []string{".sqlite", ".db"},
		Sniff: sqlite.Sniff, Rank: byMark, Read: readSQLite,
	})
	format.Register(format.Format{
		Name: "perfetto", Title: "Perfetto's native format", Extensions: []string{".pftrace", ".perfetto-trace"},
		// its first byte is a line feed, which text may begin with too
		Sniff: perfetto.Sniff, Rank: byForm, Read: stream(perfetto.Read),
	})
	format.Register(format.Format{
		Name: "xplane", Title: "profile of XProf (xplane.pb: JAX, TensorFlow, PyTorch/XLA)",
		Extensions: []string{".xplane.pb"},
		Sniff:      xplane.Sniff, Rank: byMark, Read: stream(xplane.Read),
	})
	format.Register(format.Format{
		Name: rocprof.FormatJSON, Title: "result of rocprofv3 (JSON)", Extensions: []string{".json"},
		Sniff: words(`^\s*\{`, `"rocprofiler-sdk-tool"`), Rank: byMark, Read: streams(rocprof.ReadJSON),
	})
	format.Register(format.Format{
		Name: proton.Format, Title: "hatchet file of Triton's Proton: sums without times", Extensions: []string{".hatchet"},
		Sniff: proton.Sniff, Rank: byMark, Read: stream(proton.Read),
	})
	format.Register(format.Format{
		Name: "pprof", Title: "profile of pprof: sums without times", Extensions: []string{".pb.gz", ".pprof"},
		Sniff: pprof.Sniff, Rank: byMark, Read: stream(pprof.Read),
	})
	format.Register(format.Format{
		Name: memsnap.Format, Title: "memory snapshot of PyTorch", Extensions: []string{".pickle"},
		Sniff: memsnap.Sniff, Rank: byMark, Read: stream(memsnap.ReadTrace), Aside: true,
	})
	registerServers()
	for _, f := range []format.Format{
		// told from nsys's by its tables
		{Name: rocprof.FormatDB, Title: "result of rocprofv3 (rocpd, SQLite)", SniffDir: never},
		{Name: "torch-fallback", Title: "Chrome JSON of torch without Kineto", SniffDir: never},
		{Name: "chrome", Title: "Chrome JSON of an unknown writer", SniffDir: never},
		{Name: "viztracer", Title: "Chrome JSON of viztracer: Python calls, no device", SniffDir: never},
		{Name: rocprof.FormatChrome, Title: "Chrome JSON of rocprof, before rocprofv3", SniffDir: never},
		{Name: xla.Format, Title: "Chrome JSON of JAX or TensorFlow (XLA)", SniffDir: never},
		{Name: proton.FormatChrome, Title: "Chrome JSON of Triton's Proton", SniffDir: never},
	} {
		format.Register(f) // dialects that the reader of "kineto" tells apart by what is in them
	}
	for _, f := range noTraces {
		if f.Name != "json" {
			f.Rank = byWords
		}
		format.Register(f)
	}
}

// registerServers registers what servers tell of themselves beside their traces.
func registerServers() {
	format.Register(format.Format{
		Name: sglangomni.Format, Title: "request events of SGLang-Omni (JSON lines)", Extensions: []string{".jsonl"},
		Sniff: sglangomni.Sniff, Rank: byMark, Read: streams(sglangomni.Read),
	})
	format.Register(format.Format{
		Name: vllmomni.Format, Title: "concurrency trace of vLLM-Omni (JSON lines)", Extensions: []string{".jsonl"},
		Sniff: vllmomni.Sniff, Rank: byMark, Read: streams(alone(vllmomni.Read)),
	})
	format.Register(format.Format{
		Name: vllmomni.FormatMonitor, Title: "monitor of vLLM-Omni's orchestrator: counters",
		Extensions: []string{".json"},
		Sniff:      vllmomni.SniffMonitor, Rank: byMark, Read: streams(alone(vllmomni.ReadMonitor)), Aside: true,
	})
}

func never(string) bool { return false }

// noTraces are files that engines leave beside their traces.
var noTraces = []format.Format{
	{Name: "pickle", Title: "a pickle, and no memory snapshot", Sniff: prefix("\x80")},
	{Name: "xlsx", Title: "a workbook", Sniff: words(`^PK\x03\x04`, `\[Content_Types\]\.xml|xl/`),
		Extensions: []string{".xlsx"}},
	{Name: "execution-trace", Title: "an execution trace (Chakra)",
		Sniff: words(`^\s*\{`, `"schema"\s*:`, `"nodes"\s*:|"pid"\s*:.*"time"`)},
	{Name: "memory-timeline", Title: "a memory timeline", Sniff: words(`^\s*\[\s*\[`)},
	{Name: "image", Title: "a picture", Sniff: any(prefix("\x89PNG"), prefix("<svg"), prefix("<?xml"))},
	{Name: "html", Title: "a web page", Sniff: words(`(?i)^\s*<(!doctype|html)`)},
	{Name: "columns", Title: "columns for other programs (Arrow or Parquet)",
		Sniff: any(prefix("ARROW1"), prefix("PAR1"))},
	{Name: "speedscope-profile", Title: "a speedscope profile: sums for another viewer",
		Sniff: words(`^\s*\{`, `speedscope\.app/file-format-schema`)},
	{Name: "json", Title: "JSON without traceEvents", Sniff: words(`^(?:\xef\xbb\xbf)?\s*[\[{]`), Rank: byForm},
}

func prefix(p string) func([]byte) bool {
	return func(head []byte) bool { return bytes.HasPrefix(head, []byte(p)) }
}

func any(list ...func([]byte) bool) func([]byte) bool {
	return func(head []byte) bool {
		for _, f := range list {
			if f(head) {
				return true
			}
		}
		return false
	}
}

// words returns a Sniff for texts in which all patterns are found.
func words(patterns ...string) func([]byte) bool {
	var list []*regexp.Regexp
	for _, p := range patterns {
		list = append(list, regexp.MustCompile(`(?s)`+p))
	}
	return func(head []byte) bool {
		for _, p := range list {
			if !p.Match(head) {
				return false
			}
		}
		return true
	}
}

var (
	arrayOfEvents = regexp.MustCompile(`^\[\s*(\]|\{)`)
	phase         = regexp.MustCompile(`"ph"\s*:\s*"[A-Za-z]"`)
)

// chromeJSON recognises Chrome JSON of any writer.
func chromeJSON(text []byte) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), " \t\r\n")
	if len(text) == 0 {
		return false
	}
	if text[0] == '[' {
		if arrayOfEvents.Match(text) && (len(text) < 8 || phase.Match(text)) {
			return true
		}
	}
	if text[0] == '{' && (bytes.Contains(text, []byte(`"traceEvents"`)) ||
		bytes.Contains(text, []byte(`"deviceProperties"`))) {
		return true
	}
	return kineto.Begins(text)
}

func recording(head []byte) bool {
	n := len(native_format.Magic) - 1 // the last byte is the version
	return len(head) > n && string(head[:n]) == native_format.Magic[:n]
}

func kinetoOptions(in format.Input, o format.Options) kineto.Options {
	return kineto.Options{Workers: o.Workers, DropArgs: o.DropArgs, Room: o.Room, Progress: o.Progress, Size: in.Size}
}

func readKineto(ctx context.Context, in format.Input, o format.Options) ([]*trace.Trace, error) {
	list, err := kineto.ReadAll(ctx, in.R, in.Name, kinetoOptions(in, o))
	for _, t := range list {
		if t.Meta.Format == "ascend" {
			ascend.Classify(t)
		}
	}
	return list, err
}

func readAscend(ctx context.Context, in format.Input, o format.Options) ([]*trace.Trace, error) {
	return ascend.ReadDirAll(ctx, in.Path, kinetoOptions(format.Input{}, o))
}

// one is a reader's only trace as a list.
func one(in format.Input, t *trace.Trace, err error) ([]*trace.Trace, error) {
	if err != nil {
		return nil, err
	}
	t.Meta.File = in.Name
	return []*trace.Trace{t}, nil
}

func readNative(ctx context.Context, in format.Input, _ format.Options) ([]*trace.Trace, error) {
	u, err := unpack.New(in.R)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	t, _, err := native.Read(ctx, u)
	return one(in, t, in.Of(err))
}

// stream makes a Read of a reader of one trace from a stream.
func stream(read func(io.Reader) (*trace.Trace, error)) func(context.Context, format.Input,
	format.Options) ([]*trace.Trace, error) {
	return func(_ context.Context, in format.Input, _ format.Options) ([]*trace.Trace, error) {
		u, err := unpack.New(in.R)
		if err != nil {
			return nil, err
		}
		defer u.Close()
		t, err := read(u)
		return one(in, t, in.Of(err))
	}
}

// alone makes a reader of one trace one of several.
func alone(read func(context.Context, io.Reader) (*trace.Trace, error)) func(context.Context,
	io.Reader) ([]*trace.Trace, error) {
	return func(ctx context.Context, r io.Reader) ([]*trace.Trace, error) {
		t, err := read(ctx, r)
		if err != nil {
			return nil, err
		}
		return []*trace.Trace{t}, nil
	}
}

// streams makes a Read of a reader of several traces from a stream.
func streams(read func(context.Context, io.Reader) ([]*trace.Trace, error)) func(context.Context, format.Input,
	format.Options) ([]*trace.Trace, error) {
	return func(ctx context.Context, in format.Input, _ format.Options) ([]*trace.Trace, error) {
		u, err := unpack.New(in.R)
		if err != nil {
			return nil, err
		}
		defer u.Close()
		list, err := read(ctx, u)
		if err != nil {
			return nil, in.Of(err)
		}
		for _, t := range list {
			t.Meta.File = in.Name
		}
		return list, nil
	}
}

// readSQLite reads the databases of Nsight Systems and of rocprofv3, which only their tables
// tell apart.
func readSQLite(ctx context.Context, in format.Input, _ format.Options) ([]*trace.Trace, error) {
	path, done, err := in.Local()
	if err != nil {
		return nil, err
	}
	defer done()
	t, ok, err := rocprof.ReadDB(ctx, path)
	if !ok && err == nil {
		t, err = nsys.Read(ctx, path)
	}
	return one(in, t, err)
}
