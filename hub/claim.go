package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// claimWait is how long a hub waits for another hub of its name before it begins: several round
// trips between continents.
const claimWait = 500 * time.Millisecond

// claim is what hubs of one name ask and answer each other.
type claim struct {
	Instance string `json:"instance"` // ULID
	Host     string `json:"host"`
	PID      int    `json:"pid"`
	Settled  bool   `json:"settled"` // it has the name; one that has not yet yields to an older one
}

// claimant keeps a hub's name for it. Two hubs of one name would each go on with the
// sessions of the other and keep the other's ranks recording.
type claimant struct {
	mu      sync.Mutex
	own     claim
	other   *claim
	changed chan struct{} // closed when other is set
}

// consider takes note of another hub's claim to the name, which may take precedence over ours.
func (c *claimant) consider(o claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.Instance == c.own.Instance || c.other != nil || c.own.Settled {
		return
	}
	if o.Settled || o.Instance < c.own.Instance {
		c.other = &o
		close(c.changed)
	}
}

func (c *claimant) encoded() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := json.Marshal(c.own)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return b
}

// claim takes the hub's name on a NATS cluster that others use too, until the
// connection is closed. With a server in this process there are no others.
func (h *Hub) claim(ctx context.Context) error {
	c := &claimant{own: claim{Instance: ulid.Make().String(), Host: h.host, PID: os.Getpid()},
		changed: make(chan struct{})}
	subject := protocol.HubClaimSubject(h.cfg.Name)
	take := func(m *nats.Msg) {
		var o claim
		if json.Unmarshal(m.Data, &o) != nil {
			return
		}
		c.consider(o)
		if m.Reply != "" && o.Instance != c.own.Instance {
			if err := m.Respond(c.encoded()); err != nil {
				h.log.Debug("answer to a claim", "err", err)
			}
		}
	}
	if _, err := h.nc.Subscribe(subject, take); err != nil {
		return fmt.Errorf("claim hub name %s: %w", h.cfg.Name, err)
	}
	inbox := nats.NewInbox()
	answers, err := h.nc.Subscribe(inbox, take)
	if err != nil {
		return fmt.Errorf("claim hub name %s: %w", h.cfg.Name, err)
	}
	defer func() { _ = answers.Unsubscribe() }()
	if err := h.nc.PublishRequest(subject, inbox, c.encoded()); err != nil {
		return fmt.Errorf("claim hub name %s: %w", h.cfg.Name, err)
	}
	wait := time.NewTimer(claimWait)
	defer wait.Stop()
	select {
	case <-c.changed:
	case <-wait.C:
	case <-ctx.Done():
		return fmt.Errorf("claim hub name %s: %w", h.cfg.Name, ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.other; o != nil {
		return &ErrNameTaken{Name: h.cfg.Name, Host: o.Host, PID: o.PID}
	}
	c.own.Settled = true
	return nil
}
