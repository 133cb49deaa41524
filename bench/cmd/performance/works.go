package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/kinetoscope/kinetoscope/bench/tracegen"
	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/internal/usage"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// bench is one run of all measurements.
type bench struct {
	flags
	ctx context.Context
	dir string
}

// traces measures the verbs on one large trace.
func (b *bench) traces() error {
	plain, packed := filepath.Join(b.dir, "trace.json"), b.trace
	if packed == "" {
		packed = plain + ".gz"
		if err := generate(plain, tracegen.Options{Bytes: b.mb * 1e6, Python: true, Memory: true,
			Seed: 1}); err != nil {
			return err
		}
	} else if err := unzip(packed, plain); err != nil {
		return err
	}
	st, err := os.Stat(plain)
	if err != nil {
		return err
	}
	size := float64(st.Size()) / 1e6
	events, err := countEvents(plain)
	if err != nil {
		return err
	}
	for _, w := range []struct {
		work string
		args []string
	}{
		{"operator table, packed", []string{"ops", packed}},
		{"operator table, plain JSON", []string{"ops", plain}},
		{"report, packed", []string{"report", packed}},
		{"critical path, packed", []string{"critical-path", packed}},
		{"Parquet of it, packed", []string{"convert", "--force", packed, "-o", filepath.Join(b.dir, "out.parquet")}},
	} {
		own, gz, err := b.beside(packed, append([]string{b.binary}, w.args...)...)
		if err != nil {
			return err
		}
		row(fmt.Sprintf("%s, %.0f MB of text", w.work, size), own, gz,
			fmt.Sprintf("%.0f MB/s of CPU time, %.0f B of RSS an event", size/own.CPU.Seconds(),
				float64(own.RSS)/float64(max(1, events))))
	}
	return b.peers(plain, packed)
}

// peers measures other tools that answer less about the same trace.
func (b *bench) peers(plain, packed string) error {
	if python := os.Getenv("HTA"); python != "" {
		dir := filepath.Join(b.dir, "hta")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Link(plain, filepath.Join(dir, "trace.json")); err != nil {
			return err
		}
		script := fmt.Sprintf("from hta.trace_analysis import TraceAnalysis\n"+
			"TraceAnalysis(trace_files={0: %q}).get_temporal_breakdown(visualize=False)",
			filepath.Join(dir, "trace.json"))
		if own, gz, err := b.beside(packed, python, "-c", script); err != nil {
			fmt.Fprintln(os.Stderr, "HTA left out:", err)
		} else {
			row("Holistic Trace Analysis: load and temporal breakdown", own, gz, "")
		}
	}
	if tp := os.Getenv("TRACE_PROCESSOR"); tp != "" {
		query := filepath.Join(b.dir, "q.sql")
		if err := os.WriteFile(query, []byte("select name, count(*), sum(dur) from slice group by name;\n"),
			0o600); err != nil {
			return err
		}
		own, gz, err := b.beside(packed, tp, "-q", query, packed)
		if err != nil {
			return err
		}
		row("trace_processor: load and sum by name", own, gz, "")
	}
	return nil
}

// unlike measures a trace whose arguments all differ, so that templates save nothing.
func (b *bench) unlike() error {
	plain := filepath.Join(b.dir, "unlike.json")
	if err := generate(plain, tracegen.Options{Bytes: b.mb * 1e6, Python: true, Unlike: true, Seed: 1}); err != nil {
		return err
	}
	own, gz, err := b.beside(plain+".gz", b.binary, "ops", plain)
	if err != nil {
		return err
	}
	row("operator table, a random text in all arguments", own, gz, "")
	return nil
}

// smallFiles and smallBytes are the many small files of one question.
const (
	smallFiles = 100
	smallBytes = 600_000
)

func (b *bench) small() error {
	dir := filepath.Join(b.dir, "small")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for i := range smallFiles {
		o := tracegen.Options{Bytes: smallBytes, Rank: i, World: smallFiles, Seed: uint64(i + 1)}
		if _, err := tracegen.WriteFile(filepath.Join(dir, fmt.Sprintf("rank%d.json", i)), o); err != nil {
			return err
		}
	}
	var own cost
	for i := range b.runs {
		c, err := runOnce(b.ctx, []string{b.binary, "ops", dir})
		if err != nil {
			return err
		}
		own = own.lower(c, i == 0)
	}
	size := float64(smallFiles*smallBytes) / 1e6
	wall := fmt.Sprintf("on the wall not said: others used %.1f cores", own.others)
	if own.others <= maxOthers {
		wall = fmt.Sprintf("%.0f MB/s on the wall", size/own.Wall.Seconds())
	}
	row(fmt.Sprintf("operator table of %d files of %.1f MB", smallFiles, smallBytes/1e6), own, cost{},
		fmt.Sprintf("%.0f MB/s of CPU time, %s", size/own.CPU.Seconds(), wall))
	return nil
}

// countEvents counts the events of a trace's text by their phases.
func countEvents(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	key := []byte(`"ph":`)
	buf := make([]byte, 1<<20)
	n, have := 0, 0
	for {
		k, err := f.Read(buf[have:])
		have += k
		n += bytes.Count(buf[:have], key)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		rest := min(have, len(key)-1) // what may begin the next one
		have = copy(buf, buf[have-rest:have])
	}
}

// recorded converts the recordings of a native pipeline.
func (b *bench) recorded() error {
	if b.recordings == "" {
		b.recordings = filepath.Join(b.dir, "runs")
		if _, err := runOnce(b.ctx, []string{b.binary, "capture", "--duration", "10s", "--runs-dir",
			b.recordings}); err != nil {
			return err
		}
	}
	var events int
	var took time.Duration
	ranks := 0
	err := filepath.WalkDir(b.recordings, func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".ksrec" {
			return err
		}
		best := time.Duration(0)
		var n int
		for i := range b.runs {
			before := usage.Own().CPU
			r, err := convert.Recording(b.ctx, path, discard{}, convert.Options{})
			if err != nil {
				return err
			}
			n = r.Trace.Slices.Len() + len(r.Trace.Instants.Time) + len(r.Trace.Flows.Time)
			if c := usage.Own().CPU - before; i == 0 || c < best {
				best = c
			}
		}
		events, took, ranks = events+n, took+best, ranks+1
		return nil
	})
	if err != nil {
		return err
	}
	if events == 0 {
		return fmt.Errorf("%s: no recordings", b.recordings)
	}
	fmt.Printf("| recordings of %d ranks to all artifacts, %d events | %.2f s | – | – | – | %.2f µs an event |\n",
		ranks, events, took.Seconds(), took.Seconds()*1e6/float64(events))
	return nil
}

// discard is a sink that drops everything.
type discard struct{}

func (discard) Write(name string, kind protocol.ArtifactKind, src io.Reader) (protocol.Artifact, error) {
	n, err := io.Copy(io.Discard, src)
	return protocol.Artifact{Name: name, Kind: kind, Size: n, SHA256: "-"}, err
}

// idleServer measures a server without clients.
func (b *bench) idleServer() (err error) {
	if b.idle == 0 {
		return nil
	}
	cmd := exec.CommandContext(b.ctx, b.binary, "serve", "--addr", "127.0.0.1:0", "--data-dir",
		filepath.Join(b.dir, "data"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_, _ = io.Copy(io.Discard, said)
		_ = cmd.Wait() // the signal ended it, which Wait reports as an error
	}()
	lines, serves := bufio.NewScanner(said), false
	for !serves && lines.Scan() {
		serves = strings.HasPrefix(lines.Text(), "serving ")
	}
	if !serves {
		return fmt.Errorf("%v ended before it served", cmd)
	}
	// What is left to do after a start does not count as idling.
	if err := wait.For(b.ctx, 5*time.Second); err != nil {
		return err
	}
	before, n := groupCPU(cmd.Process.Pid)
	if err := wait.For(b.ctx, time.Duration(b.idle)*time.Second); err != nil {
		return err
	}
	after, _ := groupCPU(cmd.Process.Pid)
	took := after - before
	fmt.Printf("| an idle `serve` of %d processes, %d s | %.2f s | – | – | – | %.2f %% of a core |\n",
		n, b.idle, took.Seconds(), 100*took.Seconds()/float64(b.idle))
	return nil
}

// groupCPU is the CPU time of all processes of a group, and their number.
func groupCPU(group int) (sum time.Duration, n int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		text, err := os.ReadFile(s)
		if err != nil {
			continue // the process has ended in the meantime
		}
		_, rest, ok := strings.Cut(string(text), ") ")
		f := strings.Fields(rest) // from the third field of proc(5) on
		if !ok || len(f) < 13 || f[2] != strconv.Itoa(group) {
			continue
		}
		user, _ := strconv.ParseInt(f[11], 10, 64)
		sys, _ := strconv.ParseInt(f[12], 10, 64)
		sum, n = sum+time.Duration(user+sys)*time.Second/ticks, n+1
	}
	return sum, n
}

// generate writes a trace to path and, packed, to path.gz.
func generate(path string, o tracegen.Options) error {
	if _, err := tracegen.WriteFile(path, o); err != nil {
		return err
	}
	_, err := tracegen.WriteFile(path+".gz", o)
	return err
}

func unzip(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
	}()
	_, err = io.Copy(out, z)
	return err
}
