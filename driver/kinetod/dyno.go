package kinetod

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/internal/wait"
)

const (
	// DynoPort is where the dyno command asks a daemon of its host.
	DynoPort = 1778
	// maxDynoRequest bounds one request; those of dyno have a few hundred bytes.
	maxDynoRequest = 64 << 10
	// dynoTimeout bounds one connection: a request and its answer.
	dynoTimeout = 5 * time.Second
	// maxDynoConns is how many connections are answered at a time; others wait to be taken.
	maxDynoConns = 8
	// acceptAgain is the pause after a connection that could not be taken.
	acceptAgain = 200 * time.Millisecond
	// dynoLimit is how many processes one request triggers if it names no limit.
	dynoLimit = 1000
	// dynoRunning is the status of a daemon that runs.
	dynoRunning = 1
	// dynoVersion is the release of dynolog whose calls are answered.
	dynoVersion = "0.6.0"
)

// Dyno answers the remote calls of dynolog's command line, dyno, until Close: a script's
// `dyno gputrace` has the processes of this host write traces where it says, beside all
// sessions. A caller's processes and, for root, everybody's are reached: the kernel says whose
// a connection on the loopback is.
type Dyno struct {
	d      *Daemon
	ln     net.Listener
	who    func(net.Conn) (int, error)
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// ListenDyno answers on a port of the loopback; 0 is one that is free.
func ListenDyno(ctx context.Context, d *Daemon, port int) (*Dyno, error) {
	return listenDyno(ctx, d, port, peerUser)
}

func listenDyno(ctx context.Context, d *Daemon, port int, who func(net.Conn) (int, error)) (*Dyno, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("listen for dyno: %w", err)
	}
	y := &Dyno{d: d, ln: ln, who: who}
	y.ctx, y.cancel = context.WithCancel(context.Background())
	y.wg.Go(y.serve)
	return y, nil
}

// Addr is where it listens.
func (y *Dyno) Addr() string { return y.ln.Addr().String() }

// Close answers no more. What processes were told they do.
func (y *Dyno) Close() error {
	y.cancel()
	err := y.ln.Close()
	y.wg.Wait()
	return err
}

func (y *Dyno) serve() {
	slots := make(chan struct{}, maxDynoConns)
	for {
		slots <- struct{}{}
		conn, err := y.ln.Accept()
		if err != nil {
			<-slots
			if y.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, or a caller that was gone before it was taken: neither is for ever.
			y.d.log.Warn("dyno cannot be answered; its next call is waited for", "err", err)
			if wait.For(y.ctx, acceptAgain) != nil {
				return
			}
			continue
		}
		y.wg.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			defer context.AfterFunc(y.ctx, func() { _ = conn.Close() })()
			if err := y.answer(conn); err != nil && !errors.Is(err, io.EOF) && y.ctx.Err() == nil {
				y.d.log.Warn("a request of dyno", "err", err)
			}
		})
	}
}

// answer reads one request and answers it; other data are not answered.
func (y *Dyno) answer(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(dynoTimeout)); err != nil {
		return err
	}
	text, err := readDyno(conn)
	if err != nil {
		return err
	}
	var q dynoRequest
	if err := json.Unmarshal(text, &q); err != nil {
		return err
	}
	var reply any
	switch q.Fn {
	case "getStatus":
		reply = map[string]int{"status": dynoRunning}
	case "getVersion":
		reply = map[string]string{"version": dynoVersion}
	case "setKinetOnDemandRequest":
		uid, err := y.who(conn)
		if err != nil {
			return fmt.Errorf("whose it is is not known: %w", err)
		}
		reply = y.trigger(&q, uid)
	default:
		return fmt.Errorf("there is no call %q here", q.Fn)
	}
	return writeDyno(conn, reply)
}

// readDyno reads a frame: its length in the host's order, then JSON.
func readDyno(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int32(binary.NativeEndian.Uint32(head[:]))
	if n <= 0 || n > maxDynoRequest {
		return nil, fmt.Errorf("a request of %d bytes: 1 to %d", n, maxDynoRequest)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeDyno(w io.Writer, reply any) error {
	b, err := json.Marshal(reply)
	if err != nil {
		return err
	}
	head := make([]byte, 4, 4+len(b))
	binary.NativeEndian.PutUint32(head, uint32(len(b)))
	_, err = w.Write(append(head, b...))
	return err
}

// dynoRequest is a call; the fields after Fn are those of setKinetOnDemandRequest.
type dynoRequest struct {
	Fn     string  `json:"fn"`
	Config *string `json:"config"`
	Job    int64   `json:"job_id"`
	PIDs   []int   `json:"pids"`
	Limit  *int    `json:"process_limit"`
}

// dynoReply is what became of it. The command expects every list to be there.
type dynoReply struct {
	Status    string `json:"status,omitempty"` // why nothing was done
	Matched   []int  `json:"processesMatched"`
	Triggered []int  `json:"activityProfilersTriggered"`
	Busy      int    `json:"activityProfilersBusy"`
	Events    []int  `json:"eventProfilersTriggered"` // an obsolete profiler: none
	EventBusy int    `json:"eventProfilersBusy"`
}

// trigger hands the config to the processes that the request matches and its user may profile.
func (y *Dyno) trigger(q *dynoRequest, uid int) dynoReply {
	out := dynoReply{Matched: []int{}, Triggered: []int{}, Events: []int{}}
	if q.Config == nil || q.PIDs == nil {
		out.Status = "failed"
		return out
	}
	text, err := dynoConfig(*q.Config)
	if err != nil {
		out.Status = "failed with exception = " + err.Error()
		return out
	}
	limit := dynoLimit
	if q.Limit != nil {
		limit = *q.Limit
	}
	for _, p := range y.d.Processes() {
		if p.Job != q.Job || !q.names(p) || uid != 0 && uid != p.UID {
			continue
		}
		out.Matched = append(out.Matched, p.PID)
		if len(out.Triggered) >= limit {
			continue
		}
		if y.d.leave(p.PID, text) != nil {
			out.Busy++
			continue
		}
		out.Triggered = append(out.Triggered, p.PID)
	}
	y.d.log.Info("dyno has processes write traces", "user", uid, "matched", out.Matched, "triggered", out.Triggered)
	return out
}

// names reports whether a process or one of its ancestors is named; none or 0 names all.
func (q *dynoRequest) names(p Registered) bool {
	if len(q.PIDs) == 0 || slices.Equal(q.PIDs, []int{0}) || slices.Contains(q.PIDs, p.PID) {
		return true
	}
	return slices.ContainsFunc(p.Ancestors, func(a int) bool { return slices.Contains(q.PIDs, a) })
}

// dynoKeys are what a caller may have a process do: where to write, when, and what to record.
var dynoKeys = []string{"ACTIVITIES_LOG_FILE", "PROFILE_START_TIME", "ACTIVITIES_DURATION_MSECS",
	"PROFILE_START_ITERATION", "PROFILE_START_ITERATION_ROUNDUP", "ACTIVITIES_ITERATIONS",
	"ACTIVITIES_WARMUP_PERIOD_SECS", "PROFILE_REPORT_INPUT_SHAPES", "PROFILE_PROFILE_MEMORY", "PROFILE_WITH_STACK",
	"PROFILE_WITH_FLOPS", "PROFILE_WITH_MODULES", "ACTIVITY_TYPES", "REQUEST_TRACE_ID"}

// dynoConfig is a caller's config with the lines of dynoKeys, or why it is refused.
func dynoConfig(text string) (string, error) {
	var b strings.Builder
	file := false
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if key = strings.TrimSpace(key); !ok || !slices.Contains(dynoKeys, key) {
			continue
		}
		if value = strings.TrimSpace(value); strings.ContainsFunc(value, neutral.Command) {
			return "", fmt.Errorf("the value of %s has control characters", key)
		}
		if key == "ACTIVITIES_LOG_FILE" {
			if err := checkFile(value); err != nil {
				return "", err
			}
			file = true
		}
		fmt.Fprintf(&b, "%s=%s\n", key, value)
	}
	if !file {
		return "", errors.New("the config names no ACTIVITIES_LOG_FILE")
	}
	return b.String(), nil
}
