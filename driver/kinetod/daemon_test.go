package kinetod

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/driver/kinetod/kinetodtest"
	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socketDir is short enough for sockets, which t.TempDir is not.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// anybody believes the stand-ins, which are all this process and say that they are others.
func anybody([]byte, int) (int, error) { return os.Getuid(), nil }

func listen(t *testing.T, dir string) *Daemon {
	t.Helper()
	d, err := listenAs(dir, slog.New(slog.DiscardHandler), anybody)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// eventually fails the test if ok does not become true soon.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	waittest.Until(t, 10*time.Second, what, ok)
}

// known waits until d has heard of a process.
func known(t *testing.T, d *Daemon, pid int) {
	t.Helper()
	eventually(t, "registered", func() bool { _, ok := d.Process(pid); return ok })
}

func TestDaemonKnowsWhoAsks(t *testing.T) {
	dir := socketDir(t)
	d := listen(t, dir)
	kinetodtest.Start(t, dir, kinetodtest.Behaviour{PID: 9, Ancestors: []int{5, 1}})
	b := kinetodtest.Start(t, dir, kinetodtest.Behaviour{PID: 7, Busy: true})
	known(t, d, 9)
	known(t, d, 7)
	got := d.Processes()
	if len(got) != 2 || got[0].PID != 7 || !got[0].Busy || got[1].Busy || len(got[1].Ancestors) != 2 ||
		got[1].Ancestors[0] != 5 {
		t.Errorf("%+v", got)
	}
	eventually(t, "answered again and again", func() bool { return b.Replies() > 2 })
	if n := d.Dropped(); n != 0 {
		t.Errorf("%d messages dropped", n)
	}
}

func TestDeliver(t *testing.T) {
	dir := socketDir(t)
	d := listen(t, dir)
	a := kinetodtest.Start(t, dir, kinetodtest.Behaviour{PID: 9, Deaf: true})
	known(t, d, 9)
	if err := d.deliver(t.Context(), 9, "A=1\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "told", func() bool { return len(a.Configs()) == 1 })
	if err := d.deliver(t.Context(), 8, "A=1\n"); !errors.Is(err, ErrGone) {
		t.Errorf("to nobody: %v", err)
	}
	a.SetBusy(true)
	eventually(t, "busy", func() bool { p, _ := d.Process(9); return p.Busy })
	if err := d.deliver(t.Context(), 9, "A=1\n"); !errors.Is(err, ErrBusy) {
		t.Errorf("to a busy process: %v", err)
	}
	if n := len(a.Configs()); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// What is taken back is not delivered later, and a second request waits for no first one.
func TestDeliverIsTakenBack(t *testing.T) {
	dir := socketDir(t)
	d := listen(t, dir)
	a := kinetodtest.Start(t, dir, kinetodtest.Behaviour{PID: 9, Poll: time.Hour, Deaf: true})
	known(t, d, 9)
	ctx, cancel := context.WithCancelCause(t.Context())
	out := make(chan error, 1)
	go func() { out <- d.deliver(ctx, 9, "A=1\n") }()
	eventually(t, "waiting", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.table[9].offer != nil })
	if err := d.deliver(t.Context(), 9, "A=2\n"); !errors.Is(err, ErrBusy) {
		t.Errorf("a second request: %v", err)
	}
	why := errors.New("too late")
	cancel(why)
	if err := <-out; !errors.Is(err, why) {
		t.Errorf("taken back: %v", err)
	}
	// The next question finds nothing.
	a.Ask()
	eventually(t, "answered", func() bool { return a.Replies() == 2 })
	if n := len(a.Configs()); n != 0 {
		t.Errorf("told %d times", n)
	}
}

func TestSilentProcessesAreForgotten(t *testing.T) {
	dir := socketDir(t)
	d := listen(t, dir)
	a := kinetodtest.Start(t, dir, kinetodtest.Behaviour{PID: 9, Poll: time.Hour})
	known(t, d, 9)
	out := make(chan error, 1)
	go func() { out <- d.deliver(context.Background(), 9, "A=1\n") }()
	eventually(t, "waiting", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.table[9].offer != nil })
	a.Stop()
	d.mu.Lock()
	d.now = func() time.Time { return time.Now().Add(silence) }
	d.mu.Unlock()
	if got := d.Processes(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if err := <-out; !errors.Is(err, ErrGone) {
		t.Errorf("to who is gone: %v", err)
	}
}

// A socket in another spelling of the directory, or of the other kind, gets no answer:
// libkineto would end the process.
func TestStrangersGetNoAnswer(t *testing.T) {
	dir := socketDir(t)
	d := listen(t, dir)
	link := dir + "-link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(link)
	for _, name := range []string{link + "/dynoconfigclient1", dir + "//dynoconfigclient2"} {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		before := d.Dropped()
		if _, err := conn.WriteToUnix(kinetodtest.Request("req", 2, 0, 77),
			&net.UnixAddr{Net: "unixgram", Name: dir + "/dynolog"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "counted", func() bool { return d.Dropped() > before })
		if err := conn.SetReadDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 100)); err == nil {
			t.Errorf("%s got an answer of %d bytes", name, n)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A pid that two processes claim is the first one's.
func TestTwoProcessesOfOnePID(t *testing.T) {
	dir := socketDir(t)
	d := listen(t, dir)
	kinetodtest.Start(t, dir, kinetodtest.Behaviour{PID: 9, Ancestors: []int{1}})
	known(t, d, 9)
	if err := d.answerPoll(dir+"/dynoconfigclient-other", poll{idle: true, pid: 9, ancestors: []int{2}},
		nil); err == nil || !strings.Contains(err.Error(), "PID namespace") {
		t.Errorf("a second process 9: %v", err)
	}
	if p, _ := d.Process(9); p.Ancestors[0] != 1 {
		t.Errorf("%+v", p)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := socketDir(t)
	listen(t, dir)
	if _, err := Listen(dir, slog.Default()); err == nil || !strings.Contains(err.Error(), "another daemon listens") {
		t.Errorf("a second daemon: %v", err)
	}
	if _, err := Listen(strings.Repeat("/x", 40), slog.Default()); err == nil ||
		!strings.Contains(err.Error(), "54 bytes") {
		t.Errorf("a long directory: %v", err)
	}
	if _, err := Listen("relative", slog.Default()); err == nil {
		t.Error("a relative directory is taken")
	}
	// A socket that a killed daemon left is in nobody's way.
	name := filepath.Join(socketDir(t), daemonName)
	left, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(name); err != nil {
		t.Fatalf("the socket is to be left: %v", err)
	}
	listen(t, filepath.Dir(name))
}

// The abstract name is libkineto's to the byte, with a NUL at its end.
func TestAbstractName(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("abstract sockets are Linux's")
	}
	d, err := Listen("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Skipf("the name is taken on this host: %v", err)
	}
	defer d.Close()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: "@dynoconfigclient-of-a-test\x00"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.WriteToUnix(kinetodtest.Request("ctxt", 0, 0),
		&net.UnixAddr{Net: "unixgram", Name: "@dynolog\x00"}); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, _, err := conn.ReadFromUnix(b)
	if err != nil || n != headerBytes+4 || b[headerBytes] != 0xff {
		t.Errorf("%d bytes, %v: want four of -1", n, err)
	}
}
