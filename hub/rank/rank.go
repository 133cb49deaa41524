// Package rank is the rank's side of the control plane: it answers the hub's
// methods as a NATS micro service, keeps the rank's presence alive and uploads
// what the rank recorded. What a method does is the Handler's business; package driver
// has the one that all ranks in Go share.
//
// Every request is answered in a goroutine of its own, so a Handler that blocks
// delays no other method; at most maxInFlight run at a time. Leave waits for all
// of them.
package rank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// maxInFlight bounds the requests a rank works on at a time; a hub has a few
	// under way, and a flood is refused instead of queued.
	maxInFlight = 64
	// presenceTimeout bounds one renewal, so that a slow one delays the next only a little and the
	// hub sees no gap of PresenceTTL.
	presenceTimeout = 2 * time.Second
	// retryInterval is how often Join looks for the hub's buckets.
	retryInterval = 100 * time.Millisecond
	// leaveTimeout bounds leaving where Leave's context does not.
	leaveTimeout = 5 * time.Second
	// serviceVersion is what micro shows; the protocol's number is in RankInfo.
	serviceVersion = "1.0.0"
)

// Handler is what a rank does when the hub asks. Methods are called from many
// goroutines at once and must be idempotent: the hub may ask again after a
// restart. Status fields RankID and StageName are filled in by the Member. An
// error is a refusal and becomes the reason of the rank's failure.
type Handler interface {
	// Arm makes ready to record r.Session. Arming the armed session again is not an error.
	Arm(ctx context.Context, r protocol.ArmRequest) (protocol.RankStatus, error)
	// Start begins at r.AtNs of the rank's clock and returns after that instant.
	Start(ctx context.Context, r protocol.BeginRequest) (protocol.RankStatus, error)
	// Stop ends recording; all that was recorded is in files when it returns.
	// Stopping a stopped session returns the same status.
	Stop(ctx context.Context, r protocol.StopRequest) (protocol.RankStatus, error)
	// Collect returns the files of a stopped session. They stay until Abort.
	Collect(ctx context.Context, r protocol.CollectRequest) (protocol.RankStatus, Handover, error)
	// Abort drops a session in whatever state it is. An unknown one is not an error.
	Abort(ctx context.Context, r protocol.AbortRequest) (protocol.RankStatus, error)
	// Status says what the profiler does now.
	Status(ctx context.Context) protocol.RankStatus
	// Call runs a method of collective_rpc.
	Call(ctx context.Context, r protocol.CallRequest) (any, error)
}

// Observer is implemented by a Handler that wants to know more.
type Observer interface {
	// Joined gives the handler its Member, before the first request.
	Joined(m *Member)
	// HubSeen says that a beat of the hub of that name came in. It must not block.
	HubSeen(hub string)
}

// File is one file that a rank hands over.
type File struct {
	Name string // in the run without the rank: "recording.ksrec" becomes recording_rank0.ksrec
	Kind protocol.ArtifactKind
	Path string // where it is now
	// Content opens it, as often as it is asked to; nil opens the file at Path, which must then be
	// in a directory where nobody else can replace it.
	Content func() (*io.SectionReader, io.Closer, error)
}

// Open opens the file. Its size is that of now: what is added later is not read.
func (f *File) Open() (*io.SectionReader, io.Closer, error) {
	if f.Content != nil {
		return f.Content()
	}
	src, err := os.Open(f.Path)
	if err != nil {
		return nil, nil, err
	}
	st, err := src.Stat()
	if err != nil {
		return Section(src, 0, err)
	}
	return Section(src, st.Size(), nil)
}

// Section returns the first size bytes of an open file in the form of File.Content. If err is not nil
// it closes the file, which may be nil then, and returns err.
func Section(f *os.File, size int64, err error) (*io.SectionReader, io.Closer, error) {
	if err == nil {
		return io.NewSectionReader(f, 0, size), f, nil
	}
	if f != nil {
		err = errors.Join(err, f.Close())
	}
	return nil, nil, err
}

// size is the file's size in bytes, -1 if it cannot be opened.
func (f *File) size() int64 {
	src, c, err := f.Open()
	if err != nil {
		return -1
	}
	_ = c.Close() // nothing was written
	return src.Size()
}

// Handover is what a rank hands over of a session.
type Handover struct {
	Files  []File
	Others []Other // ranks that it recorded as well
}

// Other is a rank that does not take part itself: the one that does has recorded it, and
// knows of it by its files, or by their lack.
type Other struct {
	ID     protocol.RankID    // of the same pipeline and stage
	State  protocol.RankState // protocol.StateStopped, or StateFailed without files
	Reason string             // why it failed, or what the files lack
	Events uint64             // of the recording
	Files  []File
}

// Option changes how a rank joins.
type Option func(*Member)

// WithClock makes now the rank's clock; time.Now without it.
func WithClock(now func() time.Time) Option { return func(m *Member) { m.now = now } }

// WithLogger makes l the Member's logger; slog.Default() without it.
func WithLogger(l *slog.Logger) Option { return func(m *Member) { m.log = l } }

// WithReplaced has f called, once and on a goroutine of its own, when another process has
// taken the rank's place, which happens only while this one does not answer. The rank is
// not announced any more; its process should end.
func WithReplaced(f func(by protocol.RankInfo)) Option { return func(m *Member) { m.replaced = f } }

// Member is a rank that takes part. Safe for concurrent use.
type Member struct {
	id  protocol.RankID // who it is never changes
	inc string

	nc  *nats.Conn
	h   Handler
	now func() time.Time
	log *slog.Logger
	kv  jetstream.KeyValue
	js  jetstream.JetStream
	svc micro.Service
	sub *nats.Subscription

	replaced func(by protocol.RankInfo) // may be nil

	ctx      context.Context // of all requests; ends with Leave
	cancel   context.CancelFunc
	wg       sync.WaitGroup // renewals and requests
	inFlight chan struct{}

	mu       sync.Mutex
	info     protocol.RankInfo
	revision uint64        // of the last presence written
	leaving  bool          // no request is taken on any more
	renew    chan struct{} // a hub has given a sign of life
}

// Join makes the process known as a rank and answers the hub until Leave. It
// waits, bounded by ctx, for a hub to have made the buckets. An empty Incarnation
// becomes a new ULID; Protocol, PID, Host and StartedAt are filled in if zero.
// A place that another process serves is refused with a *TakenError as long as that one
// answers. The connection stays the caller's; it should reconnect for ever
// (nats.MaxReconnects(-1)), for a hub may restart.
func Join(ctx context.Context, nc *nats.Conn, info protocol.RankInfo, h Handler, opts ...Option) (*Member, error) {
	if err := info.RankID.Validate(); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	if err := fillIn(&info); err != nil {
		return nil, fmt.Errorf("join as %s: %w", info.RankID.Text(), err)
	}
	m := &Member{id: info.RankID, inc: info.Incarnation, nc: nc, h: h, now: time.Now, log: slog.Default(), info: info,
		inFlight: make(chan struct{}, maxInFlight), renew: make(chan struct{}, 1)}
	for _, o := range opts {
		o(m)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if err := m.join(ctx); err != nil {
		m.cancel()
		m.detach()
		m.wg.Wait()
		return nil, fmt.Errorf("join as %s: %w", info.RankID.Text(), err)
	}
	return m, nil
}

func fillIn(info *protocol.RankInfo) error {
	if info.Incarnation == "" {
		info.Incarnation = ulid.Make().String()
	}
	if info.Protocol == 0 {
		info.Protocol = protocol.Version
	}
	if info.PID == 0 {
		info.PID = os.Getpid()
	}
	if info.StartedAt.IsZero() {
		info.StartedAt = time.Now()
	}
	if info.SpoolDir != "" { // the hub that may salvage it runs elsewhere
		dir, err := filepath.Abs(info.SpoolDir)
		if err != nil {
			return err
		}
		info.SpoolDir = dir
	}
	if info.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		info.Host = host
	}
	return nil
}

func (m *Member) join(ctx context.Context) error {
	js, err := jetstream.New(m.nc)
	if err != nil {
		return err
	}
	m.js = js
	for {
		m.kv, err = js.KeyValue(ctx, protocol.BucketRanks)
		if err == nil {
			break
		}
		if wait.For(ctx, retryInterval) != nil {
			return fmt.Errorf("no hub has made bucket %s: %w", protocol.BucketRanks, errors.Join(ctx.Err(), err))
		}
	}
	if err := free(ctx, m.nc, m.kv, m.id, m.inc); err != nil {
		return err
	}
	if o, ok := m.h.(Observer); ok {
		o.Joined(m)
		m.sub, err = m.nc.Subscribe(protocol.HubBeatWildcard, func(msg *nats.Msg) {
			var b protocol.HubBeat
			if json.Unmarshal(msg.Data, &b) == nil {
				o.HubSeen(b.Hub)
				select {
				case m.renew <- struct{}{}:
				default:
				}
			}
		})
		if err != nil {
			return err
		}
	}
	if err := m.serve(); err != nil {
		return err
	}
	// The endpoints must be at the server before anyone reads the presence.
	flush, cancel := context.WithTimeout(ctx, presenceTimeout)
	defer cancel()
	if err := m.nc.FlushWithContext(flush); err != nil {
		return err
	}
	if err := m.announce(ctx); err != nil {
		return err
	}
	m.wg.Go(m.keepPresent)
	return nil
}

// serve registers the endpoints. Without queue groups, every process that holds
// this rank's id gets a request, and the incarnation meant answers.
func (m *Member) serve() error {
	id := m.info.RankID
	svc, err := micro.AddService(m.nc, micro.Config{
		Name: protocol.ServiceName, Version: serviceVersion, QueueGroupDisabled: true,
		Description: "profiler control of " + id.Text(),
		Metadata: map[string]string{
			"rank": id.Key(), "incarnation": m.info.Incarnation, "stage_name": m.info.StageName,
			"protocol": strconv.Itoa(m.info.Protocol), "host": m.info.Host, "pid": strconv.Itoa(m.info.PID),
		},
	})
	if err != nil {
		return err
	}
	m.svc = svc
	for method, f := range m.endpoints() {
		if err := svc.AddEndpoint(string(method), f, micro.WithEndpointSubject(id.Subject(method))); err != nil {
			return fmt.Errorf("endpoint %s: %w", method, err)
		}
	}
	return nil
}

// Info returns what the rank announces.
func (m *Member) Info() protocol.RankInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.info
}

// Now reads the rank's clock.
func (m *Member) Now() time.Time { return m.now() }

// SetReady announces that the model is loaded and requests are served.
func (m *Member) SetReady(ctx context.Context, ready bool) error {
	return m.Update(ctx, func(i *protocol.RankInfo) { i.Ready = ready })
}

// Update changes what the rank announces and announces it at once. The identity cannot be changed:
// RankID and Incarnation are restored.
func (m *Member) Update(ctx context.Context, change func(*protocol.RankInfo)) error {
	m.mu.Lock()
	change(&m.info)
	m.info.RankID, m.info.Incarnation = m.id, m.inc
	m.mu.Unlock()
	return m.announce(ctx)
}

// Notify tells the hub, unasked, how the rank stands: that its recording ended.
// It is best effort; the hub asks anyway.
func (m *Member) Notify(s protocol.RankStatus) {
	m.name(&s)
	b, err := json.Marshal(s)
	if err == nil {
		err = m.nc.Publish(s.EventSubject(), b)
	}
	if err != nil {
		m.log.Warn("cannot report the end of a recording", "rank", s.Key(), "session", s.Session, "err", err)
	}
}

func (m *Member) name(s *protocol.RankStatus) {
	i := m.Info()
	s.RankID, s.StageName = i.RankID, i.StageName
}

func (m *Member) announce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, presenceTimeout)
	defer cancel()
	info := m.Info()
	info.Session = m.session()
	b, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("presence of %s: %w", info.RankID.Text(), err)
	}
	rev, err := m.put(ctx, b)
	if err != nil {
		return fmt.Errorf("presence of %s: %w", info.RankID.Text(), err)
	}
	m.mu.Lock()
	m.revision = max(m.revision, rev)
	m.mu.Unlock()
	return nil
}

// session returns the session that the rank is armed for or records. If the handler panics, the
// next caller asks it again.
func (m *Member) session() string {
	s, _ := guard(func() (any, error) { return m.h.Status(m.ctx), nil })
	if st, ok := s.(protocol.RankStatus); ok && (st.State == protocol.StateArmed ||
		st.State == protocol.StateRecording) {
		return st.Session
	}
	return ""
}

// beatPatience is how much longer than a beat's interval a renewal waits for the beat.
const beatPatience = protocol.HubBeatInterval / 4

// keepPresent renews the presence until Leave: with the hub's beats, so that an idle rank wakes up
// once for both, and without them every PresenceInterval and a little.
func (m *Member) keepPresent() {
	next := time.NewTimer(protocol.PresenceInterval)
	defer next.Stop()
	failing := false
	last := time.Now()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.renew:
			if time.Since(last) < protocol.PresenceInterval/2 { // another hub's beat has just come
				continue
			}
		case <-next.C:
		}
		last = time.Now()
		next.Reset(protocol.PresenceInterval + beatPatience)
		err := m.announce(m.ctx)
		if m.ctx.Err() != nil {
			return
		}
		if taken, ok := errors.AsType[*TakenError](err); ok {
			m.log.Error("another process has taken the rank's place", "rank", m.id.Key(),
				"pid", taken.By.PID, "host", taken.By.Host)
			if m.replaced != nil {
				m.wg.Go(func() { m.replaced(taken.By) })
			}
			return
		}
		if (err != nil) != failing { // once when it begins, once when it ends
			failing = err != nil
			m.log.Warn("presence", "rank", m.id.Key(), "renewed", !failing, "err", err)
		}
	}
}

// Leave ends the rank's part: no more requests are taken, those under way are
// cancelled and waited for, and the presence is deleted if it is still this
// process's own. The connection is left open.
func (m *Member) Leave(ctx context.Context) error {
	m.mu.Lock()
	if m.leaving {
		m.mu.Unlock()
		return nil
	}
	m.leaving = true
	m.mu.Unlock()
	m.cancel()
	m.detach()
	m.wg.Wait()
	if !m.nc.IsConnected() {
		return nil // the hub cannot be told; the presence runs out by itself
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	err := m.kv.Delete(ctx, m.id.Key(), jetstream.LastRevision(m.revision))
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return nil // another incarnation has announced itself: its presence stays
	}
	if err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

// detach ends the subscriptions.
func (m *Member) detach() {
	if m.sub != nil {
		if err := m.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			m.log.Warn("unsubscribe from hub beats", "err", err)
		}
	}
	if m.svc != nil {
		if err := m.svc.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			m.log.Warn("stop micro service", "err", err)
		}
	}
}
