package kinetod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// PollInterval is how often libkineto asks for a config.
	PollInterval = 5 * time.Second
	// silence is how long a process may not ask and still counts as alive: three
	// intervals, and the client's wait between two attempts.
	silence = 3*PollInterval + 2*time.Second
	// maxProcesses bounds the table; a host has a few for each of its cards.
	maxProcesses = 4096
	// replyTimeout bounds a reply to a client whose queue of ten datagrams is full: the
	// others wait for theirs, and libkineto waits 50 ms.
	replyTimeout = 10 * time.Millisecond
	// MaxSocketDir bounds the directory of the sockets: a socket's whole path has 108
	// bytes, of which the client's name takes 52, and libkineto does not check it.
	MaxSocketDir = 54

	// maxControl has room for the credentials that come with a datagram, and no files.
	maxControl = 64

	daemonName = "dynolog"
	clientName = "dynoconfigclient"
)

var (
	// ErrGone says that a process has ended or asks no more.
	ErrGone = errors.New("the process asks Kineto's daemon no more")
	// ErrBusy says that another profiler is on in a process, or another request waits for it.
	ErrBusy = errors.New("the process is being profiled already")
)

// Registered is a process that asks for configs.
type Registered struct {
	PID       int
	UID       int   // who it is, as the kernel says
	Ancestors []int // parent first; of its PID namespace
	Job       int64 // of Slurm, 0 without one
	Busy      bool  // a profiler is on in it
	LastAsked time.Time
}

// Daemon answers the PyTorch processes of this host. Its methods are safe for concurrent use.
type Daemon struct {
	conn *net.UnixConn
	dir  string // of the sockets, "" for abstract names
	log  *slog.Logger
	now  func() time.Time
	who  whoSent
	wg   sync.WaitGroup

	mu     sync.Mutex
	table  map[int]*client
	bad    uint64 // datagrams that could not be read or answered
	warned map[string]bool
}

// client is what the daemon knows of one process.
type client struct {
	Registered
	addr  string
	offer *offer // waits for the next request; nil: none
}

// offer is a config on its way to a process.
type offer struct {
	text string
	done chan error // takes one value: nil when the config is in the process's socket
}

// Listen takes the daemon's name and answers until Close. With dir "" it is the abstract
// one that processes with KINETO_USE_DAEMON in their environment look for; else a socket in
// dir, for processes with the same KINETO_IPC_SOCKET_DIR to the letter. The error says if
// another daemon, dynolog perhaps, has the name.
func Listen(dir string, log *slog.Logger) (*Daemon, error) { return listenAs(dir, log, credentials) }

// whoSent returns the user who sent a datagram that claims the process id pid, from the datagram's
// out-of-band data oob. The error says why the claim is not believed.
type whoSent func(oob []byte, pid int) (uid int, err error)

func listenAs(dir string, log *slog.Logger, who whoSent) (*Daemon, error) {
	d := &Daemon{log: log, now: time.Now, who: who, table: map[int]*client{}, warned: map[string]bool{}}
	name := "@" + daemonName + "\x00" // the name that clients send to has a NUL at its end
	if dir != "" {
		d.dir = strings.TrimRight(dir, "/")
		if !path.IsAbs(d.dir) || len(d.dir) > MaxSocketDir {
			return nil, fmt.Errorf("socket directory %q: want an absolute path of at most %d bytes", dir, MaxSocketDir)
		}
		name = d.dir + "/" + daemonName
		if err := removeStale(name); err != nil {
			return nil, err
		}
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another daemon answers Kineto's processes on this host, dynolog perhaps: stop it, "+
			"or give both sides a directory in KINETO_IPC_SOCKET_DIR: %w", err)
	case err != nil:
		return nil, fmt.Errorf("listen for Kineto's processes: %w", err)
	}
	if d.dir != "" {
		if err := openToAll(d.dir); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	if err := passCredentials(conn); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for Kineto's processes: %w", err), conn.Close())
	}
	d.conn = conn
	d.wg.Go(d.serve)
	return d, nil
}

// openToAll lets processes of other users send to the daemon's socket in dir. It changes nothing but
// a socket: where others may write to dir, a link could stand in its place by now.
func openToAll(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	st, err := root.Lstat(daemonName)
	if err == nil && st.Mode().Type() != fs.ModeSocket {
		err = fmt.Errorf("%s/%s was replaced: it is %v", dir, daemonName, st.Mode())
	}
	if err != nil {
		return err
	}
	return root.Chmod(daemonName, 0o666)
}

// removeStale removes a socket that no process reads from.
func removeStale(name string) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: name})
	if err == nil {
		return errors.Join(fmt.Errorf("another daemon listens at %s: stop it, or name another directory", name),
			c.Close())
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("socket %s: %w", name, err)
}

// Close ends the daemon. What waits for a process is refused with ErrGone.
func (d *Daemon) Close() error {
	err := d.conn.Close()
	d.wg.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.table {
		c.refuse(ErrGone)
	}
	clear(d.table)
	if d.dir != "" {
		if e := os.Remove(d.dir + "/" + daemonName); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// serve answers one datagram after the other: each takes microseconds.
func (d *Daemon) serve() {
	buf, oob := make([]byte, maxDatagram+1), make([]byte, maxControl)
	for {
		n, nc, _, from, err := d.conn.ReadMsgUnix(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			d.warn("read", "cannot read from Kineto's processes", "err", err)
			continue
		}
		if from == nil || from.Name == "" || from.Name == "@" {
			continue // no address to answer to
		}
		kind, payload, err := decodeFrame(buf[:n])
		if err == nil {
			err = d.answer(from.Name, kind, payload, oob[:nc])
		}
		if err != nil {
			d.warn(from.Name, "a message of a Kineto process is dropped", "from", from.Name, "err", err)
		}
	}
}

// warn counts what went wrong, and says it once for each origin.
func (d *Daemon) warn(origin, msg string, args ...any) {
	d.mu.Lock()
	d.bad++
	first := !d.warned[origin] && len(d.warned) < maxProcesses
	if first {
		d.warned[origin] = true
	}
	d.mu.Unlock()
	if first {
		d.log.Warn(msg, args...)
	}
}

func (d *Daemon) answer(from, kind string, payload, oob []byte) error {
	switch kind {
	case kindContext:
		return d.reply(from, kind, noInstances())
	case kindRequest:
		p, err := decodePoll(payload)
		if err != nil {
			return err
		}
		return d.answerPoll(from, p, oob)
	}
	return fmt.Errorf("type %q is none of Kineto's", kind)
}

// answerPoll answers always, if with nothing: a process that gets no answer reads the
// next one five seconds late, and so for ever.
func (d *Daemon) answerPoll(from string, p poll, oob []byte) error {
	uid, err := d.who(oob, p.pid)
	var c *client
	d.mu.Lock()
	if err == nil {
		c, err = d.note(from, p, uid)
	}
	var o *offer
	if c != nil && p.idle {
		o, c.offer = c.offer, nil
	} else if c != nil {
		c.refuse(ErrBusy)
	}
	d.mu.Unlock()
	var text []byte
	if o != nil {
		text = []byte(o.text)
	}
	sent := d.reply(from, kindRequest, text)
	if o != nil {
		o.done <- sent
	}
	return errors.Join(err, sent)
}

// note writes down that a process has asked. A pid that two processes claim, of two PID
// namespaces perhaps, is the first one's until that is silent.
func (d *Daemon) note(from string, p poll, uid int) (*client, error) {
	now := d.now()
	c := d.table[p.pid]
	switch {
	case c != nil && c.addr != from && now.Sub(c.LastAsked) < silence:
		return nil,
			fmt.Errorf("process %d is there already: one of the two runs in another PID namespace, give it an agent there", p.pid)
	case c != nil && c.addr != from:
		c.refuse(ErrGone)
		c = nil
	}
	if c == nil {
		if d.drop(now); len(d.table) >= maxProcesses {
			return nil, fmt.Errorf("process %d is one too many: %d are registered", p.pid, maxProcesses)
		}
		c = &client{addr: from}
		d.table[p.pid] = c
	}
	c.Registered = Registered{PID: p.pid, UID: uid, Ancestors: p.ancestors, Job: p.job, Busy: !p.idle, LastAsked: now}
	return c, nil
}

// drop forgets processes that are silent.
func (d *Daemon) drop(now time.Time) {
	for pid, c := range d.table {
		if now.Sub(c.LastAsked) >= silence {
			c.refuse(ErrGone)
			delete(d.table, pid)
		}
	}
}

func (c *client) refuse(why error) {
	if c.offer != nil {
		c.offer.done <- why
		c.offer = nil
	}
}

// reply sends from the bound socket alone: a process that gets a reply from an address of
// another kind, or from another directory than its own, is ended by libkineto.
func (d *Daemon) reply(to, kind string, payload []byte) error {
	addr := &net.UnixAddr{Net: "unixgram", Name: to}
	if abstract := strings.HasPrefix(to, "@"); abstract != (d.dir == "") {
		return fmt.Errorf("%s is no address of this daemon's kind", to)
	} else if abstract {
		addr.Name += "\x00" // package net cuts it off
	} else if base, ok := strings.CutPrefix(to, d.dir+"/"); !ok || strings.Contains(base, "/") {
		return fmt.Errorf(
			"%s is not in %s as this daemon spells it: spell KINETO_IPC_SOCKET_DIR the same on both sides", to, d.dir)
	}
	if err := d.conn.SetWriteDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	if _, err := d.conn.WriteToUnix(encodeFrame(kind, payload), addr); err != nil {
		return fmt.Errorf("answer %s: %w", to, err)
	}
	return nil
}

// Processes returns who asks for configs, by pid.
func (d *Daemon) Processes() []Registered {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(d.now())
	out := make([]Registered, 0, len(d.table))
	for _, c := range d.table {
		out = append(out, c.Registered)
	}
	slices.SortFunc(out, func(a, b Registered) int { return cmp.Compare(a.PID, b.PID) })
	return out
}

// Process returns one process, and whether it is there.
func (d *Daemon) Process(pid int) (Registered, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(d.now())
	c := d.table[pid]
	if c == nil {
		return Registered{}, false
	}
	return c.Registered, true
}

// Dropped is how many messages could not be read or answered.
func (d *Daemon) Dropped() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bad
}

// deliver hands text to a process when it asks next, up to PollInterval from now, and
// returns then. The end of ctx takes it back. Whether the process does as it is told is
// seen by its files alone: the protocol has no answer.
func (d *Daemon) deliver(ctx context.Context, pid int, text string) error {
	o := &offer{text: text, done: make(chan error, 1)}
	d.mu.Lock()
	d.drop(d.now())
	c := d.table[pid]
	switch {
	case c == nil:
		d.mu.Unlock()
		return ErrGone
	case c.offer != nil || c.Busy:
		d.mu.Unlock()
		return ErrBusy
	}
	c.offer = o
	d.mu.Unlock()
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
	}
	d.mu.Lock()
	if c.offer == o {
		c.offer = nil
		d.mu.Unlock()
		return context.Cause(ctx)
	}
	d.mu.Unlock()
	return <-o.done // it was on its way
}

// leave leaves a config for a process's next request and waits for nothing.
func (d *Daemon) leave(pid int, text string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(d.now())
	c := d.table[pid]
	switch {
	case c == nil:
		return ErrGone
	case c.offer != nil || c.Busy:
		return ErrBusy
	}
	c.offer = &offer{text: text, done: make(chan error, 1)}
	return nil
}
