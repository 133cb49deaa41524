// Package kinetodtest has a stand-in for a PyTorch process with KINETO_USE_DAEMON, for the
// tests of what speaks libkineto's on-demand protocol. It sends and expects the bytes that
// libkineto does, follows a config as libkineto does, and misbehaves on demand.
package kinetodtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Behaviour says how a Trainer differs from a well-behaved process.
type Behaviour struct {
	PID       int           // the process id that it claims; this process's if 0
	Ancestors []int         // further pids of its requests
	Poll      time.Duration // how often it asks; 20 ms without it
	Busy      bool          // a profiler is on in it
	Deaf      bool          // it takes configs and does nothing
	Late      bool          // its profiler comes too late for the warmup: it leaves an empty file and does nothing
	Trace     []byte        // the trace that it writes; a small one if nil
	// Write is called to put the trace at its final name, in place of a rename.
	Write func(tmp, file string) error
}

// Trainer asks a daemon for configs until Stop.
type Trainer struct {
	b    Behaviour
	conn *net.UnixConn
	to   *net.UnixAddr
	wg   sync.WaitGroup
	quit chan struct{}
	done chan struct{} // closed with the first trace
	once sync.Once
	did  sync.Once

	mu      sync.Mutex
	records int // recordings under way
	configs []map[string]string
	replies int
	bad     []string // of the protocol: what would have hurt libkineto
}

// Start begins to ask the daemon whose socket is in dir, until the end of the test, which
// fails if the daemon sent what libkineto does not forgive.
func Start(t testing.TB, dir string, b Behaviour) *Trainer {
	t.Helper()
	tr, err := Run(dir, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tr.Stop()
		for _, bad := range tr.Bad() {
			t.Errorf("process %d: %s", tr.b.PID, bad)
		}
	})
	return tr
}

// Run is Start for programs: the caller calls Stop, and then Bad.
func Run(dir string, b Behaviour) (*Trainer, error) {
	if b.PID == 0 {
		b.PID = os.Getpid()
	}
	if b.Poll == 0 {
		b.Poll = 20 * time.Millisecond
	}
	name := fmt.Sprintf("%s/dynoconfigclient%d", dir, b.PID)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
	if err != nil {
		return nil, err
	}
	tr := &Trainer{b: b, conn: conn, to: &net.UnixAddr{Net: "unixgram", Name: dir + "/dynolog"},
		quit: make(chan struct{}), done: make(chan struct{})}
	tr.wg.Go(tr.ask)
	tr.wg.Go(func() { tr.listen(name) })
	return tr, nil
}

// Stop ends the process in the middle of its work. It may be called again.
func (tr *Trainer) Stop() {
	tr.once.Do(func() {
		close(tr.quit)
		_ = tr.conn.Close()
	})
	tr.wg.Wait()
}

// Recorded is closed when the first trace is at its place.
func (tr *Trainer) Recorded() <-chan struct{} { return tr.done }

// Configs returns the configs that it received, by key.
func (tr *Trainer) Configs() []map[string]string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]map[string]string(nil), tr.configs...)
}

// Replies is how many answers came.
func (tr *Trainer) Replies() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.replies
}

// Bad returns what the daemon sent that libkineto does not forgive.
func (tr *Trainer) Bad() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]string(nil), tr.bad...)
}

// SetBusy says that a profiler is on, or off again.
func (tr *Trainer) SetBusy(busy bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.b.Busy = busy
}

// Request is the datagram with which a process asks.
func Request(kind string, typ int32, job int64, pids ...int) []byte {
	b := make([]byte, 40, 56+4*len(pids))
	copy(b[8:], kind)
	b = binary.NativeEndian.AppendUint32(b, uint32(typ))
	b = binary.NativeEndian.AppendUint32(b, uint32(len(pids)))
	b = binary.NativeEndian.AppendUint64(b, uint64(job))
	for _, p := range pids {
		b = binary.NativeEndian.AppendUint32(b, uint32(p))
	}
	binary.NativeEndian.PutUint64(b, uint64(len(b)-40))
	return b
}

// Ask asks once, out of turn.
func (tr *Trainer) Ask() {
	tr.mu.Lock()
	typ := int32(2)
	if tr.b.Busy || tr.records > 0 {
		typ = 0
	}
	tr.mu.Unlock()
	// Refused where the daemon is not there yet: libkineto tries again as well.
	_, _ = tr.conn.WriteToUnix(Request("req", typ, 0, append([]int{tr.b.PID}, tr.b.Ancestors...)...), tr.to)
}

// busy counts recordings under way: a process says so when it asks.
func (tr *Trainer) busy(n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.records += n
}

func (tr *Trainer) ask() {
	tick := time.NewTicker(tr.b.Poll)
	defer tick.Stop()
	for {
		tr.Ask()
		select {
		case <-tr.quit:
			return
		case <-tick.C:
		}
	}
}

func (tr *Trainer) listen(name string) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := tr.conn.ReadFromUnix(buf)
		if err != nil {
			return
		}
		text, err := reply(buf[:n], from, filepath.Dir(name))
		tr.mu.Lock()
		tr.replies++
		if err != nil {
			tr.bad = append(tr.bad, err.Error())
		}
		var config map[string]string
		if text != "" && err == nil {
			config = map[string]string{}
			for line := range strings.Lines(text) {
				k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
				if !ok || strings.Contains(v, "=") {
					tr.bad = append(tr.bad, fmt.Sprintf("line %q", line))
				}
				config[k] = v
			}
			tr.configs = append(tr.configs, config)
		}
		deaf := tr.b.Deaf
		tr.mu.Unlock()
		if config != nil && !deaf {
			tr.wg.Go(func() { tr.record(config) })
		}
	}
}

// reply reads an answer as libkineto does, whose faults end the process.
func reply(b []byte, from *net.UnixAddr, dir string) (string, error) {
	switch {
	case from == nil || !strings.HasPrefix(from.Name, dir+"/"):
		return "", fmt.Errorf("an answer from %v: libkineto ends the process", from)
	case len(b) < 40 || binary.NativeEndian.Uint64(b) != uint64(len(b)-40):
		return "", fmt.Errorf("an answer of %d bytes that is no frame: libkineto reads it for ever", len(b))
	case !bytes.HasPrefix(b[8:], []byte("req\x00")):
		return "", fmt.Errorf("an answer of type %q", b[8:40])
	}
	return string(b[40:]), nil
}

// wait returns false if the process is stopped before at.
func (tr *Trainer) wait(at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-tr.quit:
		return false
	case <-t.C:
		return true
	}
}

// record makes the files of a trace: a temporary one from the warmup on, the final name
// when it is complete.
func (tr *Trainer) record(c map[string]string) {
	number := func(key string) time.Duration {
		n, _ := strconv.ParseInt(c[key], 10, 64)
		return time.Duration(n)
	}
	start := time.UnixMilli(int64(number("PROFILE_START_TIME")))
	if time.Until(start) < number("ACTIVITIES_WARMUP_PERIOD_SECS")*time.Second {
		return // too late for the warmup: dropped without an answer
	}
	file := strings.TrimSuffix(c["ACTIVITIES_LOG_FILE"], ".json") + fmt.Sprintf("_%d.json", tr.b.PID)
	if os.WriteFile(file+".tmp", nil, 0o644) != nil || tr.b.Late {
		return
	}
	tr.busy(1)
	defer tr.busy(-1)
	if !tr.wait(start.Add(number("ACTIVITIES_DURATION_MSECS") * time.Millisecond)) {
		return
	}
	trace := tr.b.Trace
	if trace == nil {
		trace = Trace(start)
	}
	if os.WriteFile(file+".tmp", trace, 0o644) != nil {
		return
	}
	if tr.b.Write != nil {
		_ = tr.b.Write(file+".tmp", file)
		return
	}
	_ = os.Rename(file+".tmp", file)
	tr.did.Do(func() { close(tr.done) })
}

// Trace is a trace as libkineto spells it, of two operators that begin at start.
func Trace(start time.Time) []byte {
	return fmt.Appendf(nil, ` {
    "schemaVersion": 1,
    "deviceProperties": [],
    "host_name": "h",
    "displayTimeUnit": "ms",
    "baseTimeNanoseconds": %d,
    "traceEvents": [
  {
    "ph": "M", "name": "process_name", "ts": 0.000, "pid": 7, "tid": 0, "args": { "name": "python" }
  },
  {
    "ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 7, "tid": 8,
    "ts": 10.000, "dur": 20.000,
    "args": { "External id": 1 }
  },
  {
    "ph": "X", "cat": "cpu_op", "name": "aten::relu", "pid": 7, "tid": 8,
    "ts": 40.000, "dur": 5.000,
    "args": { "External id": 2 }
  }
  ],"traceName": "/tmp/x.json" }`, start.UnixNano())
}
