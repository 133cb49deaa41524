package wire

import "time"

// RendezvousTTL is how long a rank's address stands. A rank that waits for its peers
// renews it, so that an address of a dead rank goes away.
const RendezvousTTL = 30 * time.Second

// What a subscription to messages holds before NATS drops: above all that max_inflight
// requests can have on the way, for the bounds that count are a stage's queue and a
// request's outputs. A drop would show as a lost hand-off and fail its request.
const (
	PendingMessages = 1 << 20
	PendingBytes    = 1 << 30
)

// Meeting is where a rank waits for the others of its replica.
type Meeting struct {
	Incarnation string `json:"incarnation"`
	Addr        string `json:"addr"`
}
