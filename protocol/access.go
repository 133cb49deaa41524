package protocol

import "fmt"

// An identity says who a connection to NATS is. The server lets the connection publish and receive
// only what belongs to the identity. A connection whose credential is valid for any identity names
// its own in its connection name.

// Identity is that of a rank: "rank." and its key.
func (r RankID) Identity() string { return "rank." + r.Key() }

// AgentIdentity is that of an agent, which takes part for the ranks of one host.
func AgentIdentity(pipeline string) string { return "agent." + pipeline }

// InboxPrefix is where a connection of that identity receives replies. The server delivers them to
// no other connection.
func InboxPrefix(identity string) string { return "_INBOX." + identity }

// ArtifactsBucket is the object store for the files of one rank, which no other rank can
// write: CollectRequest.Bucket.
func (r RankID) ArtifactsBucket() string {
	return fmt.Sprintf("%s_%s_s%d_r%d_k%d", BucketArtifacts, r.Pipeline, r.Stage, r.Replica, r.Rank)
}

// AgentBucket is the object store for the files of all ranks for which agents take part.
func AgentBucket(pipeline string) string { return BucketArtifacts + "_" + pipeline + "_agents" }

// Sender is the last token of a subject on which a rank sends between stages and to the
// orchestrator: the server lets no other rank send there.
func (r RankID) Sender() string { return fmt.Sprintf("s%d-r%d-k%d", r.Stage, r.Replica, r.Rank) }

// SenderHub is the Sender of the hub's process.
const SenderHub = "hub"

// DataSubject is where replica of stage takes messages: From says where one is sent to, and
// FromAll what the stage subscribes to.
func DataSubject(pipeline string, stage, replica int) string {
	return fmt.Sprintf("ks.v1.data.%s.s%d.r%d", pipeline, stage, replica)
}

// OutputSubject is where an orchestrator of that name, one token, takes messages.
func OutputSubject(pipeline, name string) string { return "ks.v1.out." + pipeline + "." + name }

// From is the subject on which sender (RankID.Sender, SenderHub) sends messages for subject. NATS
// lets no other sender publish there.
func From(subject, sender string) string { return subject + "." + sender }

// FromAll matches From of every sender.
func FromAll(subject string) string { return subject + ".*" }

// KV buckets by which a rank of a native or torch stage finds its pipeline and its peers.
const (
	BucketDeploy     = "ks_deploy"     // key: pipeline; value: omni/deploy.Pipeline as JSON
	BucketRendezvous = "ks_rendezvous" // key: RankID.Key; value: omni/wire.Meeting as JSON
)

// Quotas of what ranks keep in NATS.
const (
	// MaxPresence bounds one RankInfo, in bytes; they have some hundred.
	MaxPresence = 16 << 10
	// MaxPresences bounds all of them: thousands of ranks.
	MaxPresences = 64 << 20
	// MaxUpload bounds the files of one rank that are being uploaded, in bytes: more than a viewer
	// opens, less than one rank may take of the disk.
	MaxUpload = 16 << 30
)
