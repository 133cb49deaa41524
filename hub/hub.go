// Package hub is the control plane: the NATS server, the table of live ranks,
// the sessions, and the collection of what the ranks recorded. It is the shell
// round package session: every decision about a capture is made there, in pure
// code; here are the messages, files and clocks.
//
// Goroutines: one watches presences, one sweeps the table and beats, one a
// session runs its state machine, one a request waits for its answer. Close ends
// and waits for all of them; sessions that were under way stay in the durable
// bucket and the next hub goes on with them.
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

const (
	// DefaultName is the hub's name where one hub serves a NATS server.
	DefaultName = "hub"
	// sessionHistory keeps a session's record this long in the durable bucket;
	// runs themselves stay in the store.
	sessionHistory = 7 * 24 * time.Hour
	// setupTimeout bounds the making of buckets at start-up.
	setupTimeout = 30 * time.Second
	// maxReplicas is JetStream's own limit.
	maxReplicas = 5
	// maxConversions run at a time: they share the machine with the ranks.
	maxConversions = 1
	// MaxUnfinished is how many sessions may wait for collection and conversion;
	// with more, no new one starts, for the artifacts would pile up without end.
	MaxUnfinished = 16
)

// Connection says how a hub and its ranks reach NATS.
type Connection struct {
	NATSURL string // "": run a server in this process
	Listen  string // host:port of that server; "": 127.0.0.1 and a free port
	// Advertise is the host or host:port at which ranks elsewhere reach that server;
	// "": Listen's, or an address of this host if Listen is all of them.
	Advertise string
	// Token is the join token: it lets ranks in that are started by hand, and this hub with NATSURL.
	// Where it is "", one is made up for the server in this process and kept in DataDir.
	Token string
	// Creds is a file with the credentials of this hub's user on the cluster at NATSURL, as
	// link.Config has them; RankCreds has those of the ranks that are started on this host, a
	// file or a directory as link.CredsFor takes, "" for the hub's own.
	Creds, RankCreds string
	// TLSCert and TLSKey are PEM files; with them that server takes encrypted
	// connections only. TLSCA has the authorities that NATSURL's certificate is checked
	// against, "" for the system's.
	TLSCert, TLSKey, TLSCA string
	// TLSClientCA has the authorities of the certificates that clients of that server must
	// show; "": none are asked for.
	TLSClientCA string
	// Replicas is how many servers of a cluster hold each bucket; 0 is 1.
	Replicas int
}

// Config sets a hub up.
type Config struct {
	Name    string // tells hubs on one NATS cluster apart; "": DefaultName
	DataDir string // JetStream's files; also RunsDir's default parent
	RunsDir string // "": DataDir/runs
	// SpoolDirs are directories that the hub gives to ranks on this host for their
	// recordings. It takes a lost rank's files from there, and from nowhere else.
	SpoolDirs []string
	Connection
	Logger   *slog.Logger
	Convert  ConvertFunc      // nil: recordings stay as they are
	Timeouts session.Timeouts // zero fields: the defaults of package session
	// RetryInterval is how often sessions that wait for room are tried again; 0: every five
	// seconds.
	RetryInterval time.Duration
	// PresenceTTL replaces protocol.PresenceTTL if set.
	PresenceTTL time.Duration
	// Now is the hub's clock for what goes on the wire; nil: time.Now.
	Now func() time.Time
}

// Hub is a running control plane. Safe for concurrent use.
type Hub struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	srv     *embedded // nil with an existing cluster
	nc      *nats.Conn
	js      jetstream.JetStream
	ranks   jetstream.KeyValue
	sess    jetstream.KeyValue
	store   *store.Store
	spool   spools
	host    string
	reg     *registry
	slots   chan struct{}         // held by running conversions
	unwatch context.CancelFunc    // of the presences; beat's goroutine only, after the start
	stopped atomic.Pointer[error] // why no session can be started; nil: nothing is in the way
	strays  strays
	// unlock gives the data directory back; nil without one.
	unlock func() error

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // loops and runners

	mu      sync.Mutex
	closed  bool
	book    session.Book
	runners map[string]*runner // sessions under way
	// expected are the ranks that a pipeline is to have, see Expect.
	expected map[string][]protocol.RankInfo
	// stranded are ended sessions whose files wait for room in the run store, by id.
	stranded map[string]record
}

// Start runs a hub until Close. Sessions that an earlier hub of the same name
// and data left unfinished go on. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (_ *Hub, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("start hub: %w", err)
	}
	h := &Hub{cfg: cfg, log: cfg.Logger, now: cfg.Now, reg: newRegistry(), runners: map[string]*runner{},
		stranded: map[string]record{},
		slots:    make(chan struct{}, maxConversions)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start hub: %w", err), h.Close())
		}
	}()
	if h.host, err = os.Hostname(); err != nil {
		return nil, err
	}
	if cfg.DataDir != "" {
		if h.unlock, err = LockDataDir(cfg.DataDir); err != nil {
			return nil, err
		}
	}
	if h.store, err = store.Open(cfg.RunsDir); err != nil {
		return nil, err
	}
	if h.spool, err = openSpools(cfg.SpoolDirs); err != nil {
		return nil, err
	}
	if cfg.NATSURL == "" {
		if h.srv, err = startServer(&h.cfg, h.log); err != nil {
			return nil, err
		}
	}
	if h.nc, err = connect(h.srv, &h.cfg, h.log); err != nil {
		return nil, err
	}
	if h.js, err = jetstream.New(h.nc); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	if h.srv == nil {
		if err := h.claim(ctx); err != nil {
			return nil, err
		}
	}
	if err := h.makeBuckets(ctx); err != nil {
		return nil, err
	}
	if err := h.watch(ctx); err != nil {
		return nil, err
	}
	if err := h.recover(ctx); err != nil {
		return nil, err
	}
	h.retire(ctx)
	h.wg.Go(h.bringHome)
	return h, nil
}

func (c *Config) setDefaults() error {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if err := protocol.ValidatePipelineName(c.Name); err != nil {
		return fmt.Errorf("hub name: %w", err)
	}
	if c.DataDir == "" && (c.NATSURL == "" || c.RunsDir == "") {
		return errors.New("DataDir is empty: say where the hub keeps its files")
	}
	if c.RunsDir == "" {
		c.RunsDir = filepath.Join(c.DataDir, "runs")
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Replicas < 0 || c.Replicas > maxReplicas {
		return fmt.Errorf("%d replicas of buckets: want 1 to %d", c.Replicas, maxReplicas)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.PresenceTTL <= 0 {
		c.PresenceTTL = protocol.PresenceTTL
	}
	if c.RetryInterval <= 0 {
		c.RetryInterval = retryInterval
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// makeBuckets makes missing buckets. Presence lies in memory: after a restart of NATS the ranks
// announce themselves again.
func (h *Hub) makeBuckets(ctx context.Context) (err error) {
	h.ranks, err = h.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: protocol.BucketRanks, Description: "presence of ranks", TTL: protocol.PresenceTTL,
		Storage: jetstream.MemoryStorage, Replicas: h.cfg.Replicas,
		MaxValueSize: protocol.MaxPresence, MaxBytes: h.quota(protocol.MaxPresences),
	})
	if err == nil {
		err = h.NoRollup(ctx, protocol.BucketRanks)
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", protocol.BucketRanks, err)
	}
	h.sess, err = h.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: protocol.BucketSessions, Description: "sessions", TTL: sessionHistory, Replicas: h.cfg.Replicas,
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", protocol.BucketSessions, err)
	}
	return nil
}

// quota bounds a bucket of the embedded server. It does not apply to an external cluster, which
// would reserve that much for each bucket; its own limits apply there.
func (h *Hub) quota(bytes int64) int64 {
	if h.srv == nil {
		return -1
	}
	return bytes
}

// uploads returns the object store for the files of a rank, which no other rank can write. An agent
// has one store for all of its ranks.
func (h *Hub) uploads(ctx context.Context, id protocol.RankID) (name string, obs jetstream.ObjectStore, err error) {
	name = id.ArtifactsBucket()
	if e, err := h.reg.alive(id, ""); err == nil {
		if info, ok := h.reg.info(e); ok && info.Engine.AgentUploads() {
			name = protocol.AgentBucket(id.Pipeline)
		}
	}
	err = link.Retry(ctx, func() (err error) {
		if obs, err = h.js.ObjectStore(ctx, name); !errors.Is(err, jetstream.ErrBucketNotFound) {
			return err
		}
		obs, err = h.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: name, Description: "artifacts on their way home", TTL: sessionHistory, Replicas: h.cfg.Replicas,
			MaxBytes: h.quota(protocol.MaxUpload),
		})
		return err
	})
	if err != nil {
		return "", nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return name, obs, nil
}

// NoRollup forbids, in a KV bucket, messages that replace all others: with them, a client that may
// write one key could empty the bucket. Puts and deletes do not need them.
func (h *Hub) NoRollup(ctx context.Context, bucket string) error {
	s, err := h.js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return err
	}
	c := s.CachedInfo().Config
	c.AllowRollup = false
	_, err = h.js.UpdateStream(ctx, c)
	return err
}

// watch starts the loops that keep the table of ranks.
func (h *Hub) watch(ctx context.Context) error {
	_, err := h.nc.Subscribe(protocol.EventWildcard, h.onEvent)
	if err != nil {
		return fmt.Errorf("subscribe to rank events: %w", err)
	}
	if err := h.watchPresences(ctx); err != nil {
		return err
	}
	h.wg.Go(h.beat)
	return nil
}

// watchPresences takes presences from now on, instead of the watch before if there is one.
// It returns when all that are there have been taken.
func (h *Hub) watchPresences(ctx context.Context) error {
	if h.unwatch != nil {
		h.unwatch()
	}
	var watch context.Context
	watch, h.unwatch = context.WithCancel(h.ctx)
	w, err := h.ranks.WatchAll(watch)
	if err != nil {
		return fmt.Errorf("watch presences: %w", err)
	}
	initial := make(chan struct{})
	h.wg.Go(func() { h.watchRanks(watch, w, initial) })
	select {
	case <-initial:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("watch presences: %w", ctx.Err())
	}
}

// watchRanks takes presences until ctx ends; initial is closed when all that were
// there at the beginning have been taken.
func (h *Hub) watchRanks(ctx context.Context, w jetstream.KeyWatcher, initial chan struct{}) {
	defer func() {
		if err := w.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) &&
			!errors.Is(err, nats.ErrBadSubscription) {
			h.log.Debug("stop watching presences", "err", err)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case kv, ok := <-w.Updates():
			if !ok {
				return
			}
			if kv == nil {
				close(initial)
				continue
			}
			h.takePresence(kv)
		}
	}
}

func (h *Hub) takePresence(kv jetstream.KeyValueEntry) {
	id, err := protocol.ParseRankKey(kv.Key())
	if err != nil {
		h.log.Warn("presence under a bad key", "err", err)
		return
	}
	if kv.Operation() != jetstream.KeyValuePut {
		// The key's own value is not in a delete marker. A rank deletes only its
		// own presence, so the live incarnation is the one that left.
		if h.reg.lose(id, "", "its process has left in good order") {
			h.log.Info("rank left", "rank", id.Key())
		}
		return
	}
	info, err := readPresence(id, kv.Value())
	if err != nil {
		h.log.Warn("presence is not taken", "rank", id.Key(), "err", err)
		return
	}
	if returned, taken := h.reg.seen(info, time.Now()); taken {
		h.reclaim(info, returned)
	}
}

// readPresence decodes the presence that lies under the key of id.
func readPresence(id protocol.RankID, data []byte) (info protocol.RankInfo, err error) {
	if err = json.Unmarshal(data, &info); err != nil {
		return info, err
	}
	switch {
	case info.RankID != id:
		return info, fmt.Errorf("it is that of %s", info.Text())
	case info.Protocol != protocol.Version:
		return info, fmt.Errorf("it speaks protocol %d, and this hub %d", info.Protocol, protocol.Version)
	}
	return info, info.Validate()
}

// sweepInterval is how often ranks that live no more are looked for: what a loss is known late by.
const sweepInterval = time.Second

// beat says every HubBeatInterval that the hub lives, and drops, every sweepInterval, ranks that do
// not. Time in which the hub itself could receive nothing (suspended, starved of CPU, cut off from
// NATS) is not held against the ranks.
func (h *Hub) beat() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	last := time.Now()
	for n := 0; ; n++ {
		if n%int(protocol.HubBeatInterval/sweepInterval) == 0 {
			h.sayAlive()
		}
		select {
		case <-h.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		gap := now.Sub(last)
		last = now
		if !h.nc.IsConnected() {
			h.reg.excuse(gap)
			continue
		}
		if late := gap - sweepInterval; late > sweepInterval/2 {
			h.reg.excuse(late)
		}
		h.checkStorage()
		ttl := h.cfg.PresenceTTL + beyond(h.reg.size(), presenceEach)
		h.askSilent(now, ttl/2)
		for _, info := range h.reg.sweep(now, ttl) {
			h.log.Warn("rank lost", "rank", info.Key(), "pid", info.PID, "host", info.Host)
		}
	}
}

// sayAlive sends one beat. One that is lost does no harm: ranks wait for many.
func (h *Hub) sayAlive() {
	b, err := json.Marshal(protocol.HubBeat{Hub: h.cfg.Name, AtNs: h.now().UnixNano()})
	if err == nil {
		err = h.nc.Publish(protocol.HubBeatSubject(h.cfg.Name), b)
	}
	if err != nil {
		h.log.Debug("hub beat", "err", err)
	}
}

// Name is the hub's name.
func (h *Hub) Name() string { return h.cfg.Name }

// ClientURL is the URL with which ranks connect, from any host. It may hold the join token, so show it
// only to people who may join.
func (h *Hub) ClientURL() string {
	if h.srv != nil {
		return h.srv.join
	}
	return link.WithToken(h.cfg.NATSURL, h.cfg.Token)
}

// LocalURL is where ranks on this host connect; it is as secret as ClientURL.
func (h *Hub) LocalURL() string {
	if h.srv != nil {
		return h.srv.local
	}
	return h.ClientURL()
}

// RankURL is where the rank of that id on this host connects, with a credential that opens
// what belongs to this rank and nothing else. It is as secret as that.
func (h *Hub) RankURL(id protocol.RankID) string { return h.urlFor(h.LocalURL(), id.Identity()) }

// Credential returns the credential of one identity of package protocol, for ranks and agents on other
// hosts. There are none on an external cluster.
func (h *Hub) Credential(identity string) (string, error) {
	if h.srv == nil {
		return "",
			errors.New("credentials are the embedded NATS server's: make users on this cluster, docs/security.md has their permissions")
	}
	if permissions(identity) == nil {
		return "", badIdentity(identity)
	}
	return h.srv.access.credential(identity), nil
}

func (h *Hub) urlFor(joinURL, identity string) string {
	if h.srv == nil {
		return joinURL
	}
	u, err := url.Parse(joinURL)
	if err != nil {
		return joinURL
	}
	u.User = url.User(h.srv.access.credential(identity))
	return u.String()
}

// Conn is the hub's own NATS connection; it stays the hub's.
func (h *Hub) Conn() *nats.Conn { return h.nc }

// Replicas is how many servers of a cluster hold each bucket.
func (h *Hub) Replicas() int { return h.cfg.Replicas }

// JetStream is the hub's own JetStream context.
func (h *Hub) JetStream() jetstream.JetStream { return h.js }

// Store is where finished sessions are.
func (h *Hub) Store() *store.Store { return h.store }

// Ranks returns the live ranks of a pipeline in order; of all pipelines if it is "".
func (h *Hub) Ranks(pipeline string) []protocol.RankInfo { return h.reg.list(pipeline) }

// WaitReady returns the live ranks once at least n of the pipeline are ready.
func (h *Hub) WaitReady(ctx context.Context, pipeline string, n int) ([]protocol.RankInfo, error) {
	return h.reg.waitReady(ctx, pipeline, n)
}

// RankGone tells the hub that a rank's process has ended, as its supervisor knows
// before any renewal is missed. Everything that waits for it ends at once with
// lost(reason). An empty incarnation means the live one.
func (h *Hub) RankGone(id protocol.RankID, incarnation, reason string) {
	if h.reg.lose(id, incarnation, reason) {
		h.log.Warn("rank gone", "rank", id.Key(), "reason", reason)
	}
}

// RankDoomed tells the hub that a rank's process is about to be ended, and why: that is the
// reason then, and not that it has left.
func (h *Hub) RankDoomed(id protocol.RankID, reason string) { h.reg.doom(id, reason) }

// RankContext returns a context that ends when that incarnation of a rank is
// lost; its cause says why.
func (h *Hub) RankContext(id protocol.RankID, incarnation string) (context.Context, error) {
	e, err := h.reg.alive(id, incarnation)
	if err != nil {
		return nil, fmt.Errorf("rank %s: %w", id.Text(), err)
	}
	return e.ctx, nil
}

// Close ends the hub and waits for all that it runs. A recording that is under
// way is ended by the ranks themselves after protocol.HubLossTimeout, or by the
// next hub; stop it before if it is not to go on.
func (h *Hub) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
	if h.nc != nil {
		h.nc.Close()
	}
	h.spool.close()
	if h.srv != nil {
		h.srv.Shutdown()
		h.srv.WaitForShutdown()
	}
	if h.unlock != nil {
		if err := h.unlock(); err != nil {
			return fmt.Errorf("close hub: %w", err)
		}
	}
	return nil
}
