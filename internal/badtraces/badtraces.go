// Package badtraces generates traces as users have them and as no writer intends: merged,
// doubled, cut, joined, packed in odd ways, named by any engine. Tests of readers and of
// the command line open them and expect what Case says.
package badtraces

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// Rank is a rank that trains a toy model on one device.
type Rank struct {
	Rank, World int   // written into the header; World 0 leaves it out
	PID, Device int64 // of the process and its card
	Steps       int
	From        float64 // µs after the base at which the first step begins
	Late        float64 // µs by which its kernels are late
	Label       string  // before every process id, as SGLang's merge writes it; makes it text
	Offset      int64   // added to every process id
}

// SlicesPerStep is the number of slices that each of a rank's steps has.
const SlicesPerStep = 5

// event is one row; keys are written in the order of their names.
type event map[string]any

func (r Rank) pid(n int64) any {
	if r.Label != "" {
		return fmt.Sprintf("[%s] %d", r.Label, n)
	}
	return n + r.Offset
}

// Events are the rank's rows in the order in which torch writes them.
func (r Rank) Events() []any {
	host, dev := r.pid(r.PID), r.pid(r.Device)
	out := []any{
		event{"ph": "M", "name": "process_name", "pid": host, "tid": 0, "ts": 0, "args": event{"name": "python"}},
		event{"ph": "M", "name": "process_name", "pid": dev, "tid": 0, "ts": 0, "args": event{"name": "python"}},
		event{"ph": "M", "name": "process_labels", "pid": dev, "tid": 0, "ts": 0,
			"args": event{"labels": fmt.Sprint("GPU ", r.Device)}},
	}
	for s := range r.Steps {
		at := r.From + 1000*float64(s)
		out = append(out, event{"ph": "X", "cat": "user_annotation", "name": fmt.Sprintf("ProfilerStep#%d", s),
			"pid": host, "tid": r.PID, "ts": at, "dur": 990})
		for k := range 2 {
			corr := 100 + 2*s + k
			t := at + 10 + 300*float64(k)
			if k == 0 {
				out = append(out, event{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": host, "tid": r.PID,
					"ts": t, "dur": 200, "args": event{"External id": corr}})
			}
			out = append(out,
				event{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": host, "tid": r.PID,
					"ts": t + 20, "dur": 5, "args": event{"correlation": corr}},
				event{"ph": "s", "cat": "ac2g", "name": "ac2g", "id": corr, "pid": host, "tid": r.PID, "ts": t + 20},
				event{"ph": "f", "bp": "e", "cat": "ac2g", "name": "ac2g", "id": corr, "pid": dev, "tid": 7,
					"ts": t + 40 + r.Late})
			if k == 0 {
				out = append(out, event{"ph": "X", "cat": "kernel", "name": "gemm", "pid": dev, "tid": 7,
					"ts": t + 40 + r.Late, "dur": 200,
					"args": event{"device": r.Device, "stream": 7, "correlation": corr}})
			}
		}
	}
	return out
}

// Slices is the number of slices in the rank's trace.
func (r Rank) Slices() int { return SlicesPerStep * r.Steps }

// Text is the rank's trace as torch writes it today.
func (r Rank) Text() string { return Document([]Rank{r}, r.Events()) }

// Document is an object of events with the header of the first of ranks.
func Document(ranks []Rank, events []any) string {
	var b strings.Builder
	b.WriteString("{\n \"schemaVersion\": 1,\n \"baseTimeNanoseconds\": 1700000000000000000,\n")
	if r := ranks[0]; r.World > 0 {
		fmt.Fprintf(&b, " \"distributedInfo\": {\"backend\": \"nccl\", \"rank\": %d, \"world_size\": %d},\n", r.Rank,
			r.World)
	}
	b.WriteString(" \"traceEvents\": " + Array(events) + "\n}\n")
	return b.String()
}

// Array is events as a JSON array, one a line.
func Array(events []any) string {
	lines := make([]string, len(events))
	for i, e := range events {
		raw, err := json.Marshal(e)
		if err != nil {
			panic(err) // numbers and texts only
		}
		lines[i] = "  " + string(raw)
	}
	return "[\n" + strings.Join(lines, ",\n") + "\n ]"
}

// Job is n ranks of one job on one host.
func Job(n, steps int) []Rank {
	out := make([]Rank, n)
	for i := range out {
		out[i] = Rank{Rank: i, World: n, PID: int64(1000 + i), Device: int64(i), Steps: steps,
			From: 1000 + float64(7*i), Late: float64(11 * i)}
	}
	return out
}

// Interleave is what two writers leave that write blocks of size bytes to one file in turn.
func Interleave(a, b string, size int) string {
	var out strings.Builder
	for len(a)+len(b) > 0 {
		n, m := min(size, len(a)), min(size, len(b))
		out.WriteString(a[:n])
		out.WriteString(b[:m])
		a, b = a[n:], b[m:]
	}
	return out.String()
}

// Gzip, Zstd and XZ pack a text.
func Gzip(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

// Zstd packs a text.
func Zstd(s string) string {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err) // without options it does not fail
	}
	defer e.Close()
	return string(e.EncodeAll([]byte(s), nil))
}

// XZ packs a text.
func XZ(s string) string {
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		panic(err) // without options it does not fail
	}
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

// LZ4 packs a text.
func LZ4(s string) string {
	var b bytes.Buffer
	w := lz4.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

// File is one file of an archive.
type File struct{ Name, Data string }

// Lay writes files into dir, with the directories that they lie in.
func Lay(dir string, files []File) error {
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.Data), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Tar is an archive of files.
func Tar(files ...File) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		w.WriteHeader(&tar.Header{Name: f.Name, Size: int64(len(f.Data)), Mode: 0o644})
		w.Write([]byte(f.Data))
	}
	w.Close()
	return b.String()
}

// Zip is an archive of files.
func Zip(files ...File) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		if m, err := w.Create(f.Name); err == nil {
			m.Write([]byte(f.Data))
		}
	}
	w.Close()
	return b.String()
}

// UTF16 is a text in UTF-16, with the low byte first or the high one.
func UTF16(s string, big bool) string {
	b := []byte{0xFF, 0xFE}
	if big {
		b = []byte{0xFE, 0xFF}
	}
	for _, c := range []byte(s) { // ASCII only
		if big {
			b = append(b, 0, c)
		} else {
			b = append(b, c, 0)
		}
	}
	return string(b)
}
