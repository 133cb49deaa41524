package multihost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kinetoscope/kinetoscope/session"
)

// prefixPattern are the names of namespaces; the number is the test's process.
var prefixPattern = regexp.MustCompile(`^ks(\d+)-[a-d]$`)

// lab is four hosts: a with the hub at 10.77.0.1, the others with ranks.
type lab struct {
	t      *testing.T
	prefix string
	bin    string // kinetoscope
	dir    string
	api    // of the hub, from host a

	mu   sync.Mutex
	logs map[string]*syncLog
	stop context.CancelFunc
	ctx  context.Context
	wg   sync.WaitGroup // processes
}

// newLab builds kinetoscope and the hosts, or skips the test where that cannot be.
// With KINETOSCOPE_MULTIHOST=1 it fails instead.
func newLab(t *testing.T) *lab {
	unable := t.Skipf
	if os.Getenv("KINETOSCOPE_MULTIHOST") == "1" {
		unable = t.Fatalf
	}
	if os.Getuid() != 0 {
		unable("network namespaces need root")
	}
	for _, tool := range []string{"ip", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			unable("network namespaces need %s (Debian: iproute2, util-linux): %v", tool, err)
		}
	}
	removeStale(t)
	l := &lab{t: t, prefix: fmt.Sprintf("ks%d", os.Getpid()), dir: t.TempDir(), logs: map[string]*syncLog{}}
	t.Cleanup(func() { l.net("down") })
	if out, err := exec.Command("./net.sh", "up", l.prefix).CombinedOutput(); err != nil {
		unable("network namespaces cannot be made here: %v: %s", err, out)
	}
	l.bin = build(t, kinetoscope)
	l.api = api{client: &http.Client{Transport: &http.Transport{DialContext: l.dialFromA, DisableKeepAlives: true}},
		url: "http://" + httpAddr}
	l.ctx, l.stop = context.WithCancel(context.Background())
	t.Cleanup(func() {
		l.stop()
		l.wg.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		for name, log := range l.logs {
			if t.Failed() {
				t.Logf("---- the last of %s\n%s", name, log.tail())
			}
		}
	})
	return l
}

// removeStale removes the hosts of tests that were killed.
func removeStale(t *testing.T) {
	dir, err := os.ReadDir("/run/netns")
	if err != nil {
		return
	}
	for _, e := range dir {
		m := prefixPattern.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		if _, err := os.Stat("/proc/" + m[1]); errors.Is(err, os.ErrNotExist) {
			if out, err := exec.Command("./net.sh", "down", "ks"+m[1]).CombinedOutput(); err != nil {
				t.Logf("stale namespaces: %v: %s", err, out)
			}
		}
	}
}

// net runs a verb of net.sh.
func (l *lab) net(verb string, args ...string) {
	l.t.Helper()
	if err := l.tryNet(verb, args...); err != nil {
		l.t.Error(err)
	}
}

func (l *lab) tryNet(verb string, args ...string) error {
	out, err := exec.Command("./net.sh", append([]string{verb, l.prefix}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("net.sh %s %v: %w: %s", verb, args, err, out)
	}
	return nil
}

// dialFromA opens a connection in host a's namespace.
func (l *lab) dialFromA(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = l.on("a", func() error {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// on runs f in a host's namespace; sockets that f makes stay there.
func (l *lab) on(host string, f func() error) error {
	runtime.LockOSThread() // a thread that cannot come back ends with its goroutine
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	there, err := os.Open("/run/netns/" + l.prefix + "-" + host)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}

// log is a process's output.
func (l *lab) log(name string) *syncLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.logs[name] == nil {
		l.logs[name] = new(syncLog)
	}
	return l.logs[name]
}

func (l *lab) logged(name string) string { return l.log(name).String() }

// command is a program on a host; it ends with the lab, or with this process.
func (l *lab) command(ctx context.Context, host, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "./net.sh", append([]string{"run", l.prefix, host}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+l.dir)
	cmd.Stdout, cmd.Stderr = l.log(name), l.log(name)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// worker is a rank that is started again whenever it ends, as systemd would.
type worker struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	proc   *os.Process
	starts int
}

func (w *worker) started() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.starts
}

// kill ends the process without warning; it is started again.
func (w *worker) kill(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.proc.Kill(); err != nil {
		t.Fatal(err)
	}
}

// end ends the rank for good.
func (w *worker) end() {
	w.cancel()
	<-w.done
}

func (l *lab) worker(host, url string, stage, rank int) *worker {
	ctx, cancel := context.WithCancel(l.ctx)
	w := &worker{name: fmt.Sprintf("worker %s stage %d rank %d", host, stage, rank), cancel: cancel,
		done: make(chan struct{})}
	l.wg.Go(func() {
		defer close(w.done)
		for ctx.Err() == nil {
			cmd := l.command(ctx, host, w.name, l.bin, "worker", "--nats", url, "--stage", strconv.Itoa(stage),
				"--rank", strconv.Itoa(rank), "--spool-dir", filepath.Join(l.dir, "spool-"+host))
			w.mu.Lock()
			err := cmd.Start()
			w.proc = cmd.Process
			w.starts++
			w.mu.Unlock()
			if err == nil {
				err = cmd.Wait()
			}
			fmt.Fprintf(l.log(w.name), "ended: %v\n", err)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond): // a restart delay, as a supervisor has
			}
		}
	})
	return w
}

// serve starts the hub on host a and returns the URL at which ranks join. It ends
// with the lab, after the ranks.
func (l *lab) serve(args ...string) (joinURL string) {
	l.t.Helper()
	join := filepath.Join(l.dir, "nats")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := l.command(ctx, "a", "serve", append([]string{l.bin, "serve", "--addr", httpAddr, "--insecure", "--no-launch",
		"--data-dir", filepath.Join(l.dir, "data"), "--runs-dir", filepath.Join(l.dir, "runs"), "--nats-file", join},
		args...)...)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		fmt.Fprintf(l.log("serve"), "ended: %v\n", cmd.Wait())
	}()
	l.t.Cleanup(func() {
		l.stop()
		l.wg.Wait()
		cancel()
		<-ended
	})
	var url []byte
	l.until(20*time.Second, "the hub", func() bool {
		var err error
		url, err = os.ReadFile(join)
		return err == nil
	})
	return strings.TrimSpace(string(url))
}

const httpAddr = "10.77.0.1:8000"

// until polls; it fails the test after d.
func (l *lab) until(d time.Duration, what string, ok func() bool) time.Duration {
	l.t.Helper()
	return until(l.t, d, what, ok)
}

func (l *lab) healthy() bool { return l.api.healthy(l.ctx) }

func (l *lab) chat(ctx context.Context) error { return l.api.chat(ctx) }

func (l *lab) session(id string) *session.Status {
	l.t.Helper()
	st := new(session.Status)
	if err := l.call(l.ctx, "GET", "/v1/sessions/"+id, nil, st); err != nil {
		l.t.Fatal(err)
	}
	return st
}
