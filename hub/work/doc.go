// Package work answers questions about traces where the traces lie: a Desk, at the hub, splits a
// question into a task for each file, and the Nodes, in the agents, solve them. What a question is,
// only those who ask and solve know; here it is bytes.
//
// Tasks lie in a JetStream work queue. A node takes one at a time for each of its workers, says
// that it still works on it, and acknowledges it when the desk has its result. The task of a node
// that died is delivered again, to the same node after a restart or to another agent of the same
// name; a file that ends its agent again and again is given up after maxTries. Goroutines: a node
// has its workers, Close waits for them; a desk has none but its callers'.
package work

import (
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// defaultAckWait is how long a task may be without a sign of its node before it is delivered
	// again: some signs may be lost, and a restart of an agent takes seconds.
	defaultAckWait = 20 * time.Second
	// signs is how many signs of life a node gives within that time.
	signs = 4
	// maxTries bounds how often a file is tried: what ended an agent twice ends it again.
	maxTries = 3
	// MaxTasks bounds the files of one question: thousands of ranks, and a queue of some megabytes.
	MaxTasks = 1 << 14
	// maxResult bounds what is found in one file, packed, in bytes: it is one message.
	maxResult = protocol.MaxPayload / 2
	// maxUnpacked bounds the same unpacked, so that a small message cannot fill the memory.
	maxUnpacked = 256 << 20
	// taskAge bounds how long a task waits for a node: nobody waits longer for an answer.
	taskAge = time.Hour
	// findTimeout bounds looking through directories on a node.
	findTimeout = time.Minute
	// lookAgain is how often a worker without a queue looks for one. Questions tell it of theirs.
	lookAgain = 5 * time.Second
	// heartbeat is how often the queue says that it is there; a worker that misses two looks for it.
	heartbeat = time.Second
	// callTimeout bounds every other exchange of messages.
	callTimeout = 10 * time.Second
)
