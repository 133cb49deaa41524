package wire

import "time"

// KV buckets by which a rank finds its pipeline and its peers.
const (
	BucketDeploy     = "ks_deploy"     // key: pipeline; value: deploy.Pipeline as JSON
	BucketRendezvous = "ks_rendezvous" // key: protocol.RankID.Key(); value: Meeting as JSON
)

// RendezvousTTL is how long a rank's address stands. A rank that waits for its peers
// renews it, so that an address of a dead rank goes away.
const RendezvousTTL = 30 * time.Second

// Meeting is where a rank waits for the others of its replica.
type Meeting struct {
	Incarnation string `json:"incarnation"`
	Addr        string `json:"addr"`
}
