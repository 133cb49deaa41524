// Package procs says which processes of a host are ranks of a model, and which rank each
// is, from what the host's proc file system says of them.
//
// An agent learns the pids of the processes that have imported torch. Launchers,
// DataLoader workers and compile workers are among them and are not worth recording. Read
// gathers the facts of one process; a Roster chooses the ranks and gives them their places.
//
// # What a process says of itself
//
// From the least to the most exact:
//
//   - nothing;
//   - RANK and WORLD_SIZE in its environment, if 0 <= RANK < WORLD_SIZE <= 65536. They may
//     be inherited, so everything below goes before them;
//   - a title with a replica, "VLLM::EngineCore_DP1";
//   - a title with a rank, "VLLM::Worker_DP0_PP1_TP3" or "sglang::scheduler_TP1"; "VLLM::Worker"
//     alone is that of rank 0.
//
// A title without a replica has that of the nearest process above whose title, of the same program,
// says one: the workers of vLLM's independent engines do not say it themselves.
//
// # Which processes are ranks
//
// Only the processes that Place is given count; none of them is a rank that the rules
// leave out. First, whatever the hardware:
//
//   - A compile worker of torch's Inductor is none.
//   - Nor is one that serves the ranks of an engine, by its title: "VLLM::APIServer_1", "sglang::detokenizer".
//   - A process is a launcher if a descendant says more exactly than it what it is, or if
//     both have a RANK and not the same one.
//
// Then one of these three:
//
//  1. If any of the others has an accelerator open, those that have.
//  2. Else, if any says a RANK, those with a RANK or a title.
//  3. Else, those that have no descendant here. A title that says a place makes up for one.
//
// Last, in one line of descent, of several that say the same only the outermost is a rank:
// the others are its workers, which inherit RANK. So are processes below a titled program
// that have no title and no RANK but its own. A titled program is never the worker of one
// whose title says another place.
//
// The rules are applied anew each time. Processes appear one after the other, so a process
// that had a place may turn out to be a launcher; it loses the place and is skipped.
//
// # Places
//
// The stage is KINETOSCOPE_STAGE (0 to 9999; anything else is ignored), its name is
// KINETOSCOPE_STAGE_NAME or else comes from the command line: the program in a title in
// lower case, the script, the module's last part, the executable. Each name has one stage:
// that of a process with the name, else the smallest id that nobody uses, in order of the
// processes' start.
//
// The rank is RANK, or comes from the title: PP times the replica's TP size plus TP, where
// the size is that of the largest TP seen among the process's siblings. A title's DP is
// the replica. A process that says nothing is a replica of its own. A process joins the
// replica of its siblings, else the one it asks for, else the next in which its rank is
// free: two jobs of one script are two replicas.
//
// A process keeps its place while it is a rank and says the same of itself; nobody else
// gets it. It is placed anew if it comes to say something else, as vLLM's workers do that
// register before they set their title, or if a larger TP shows that a pipeline-parallel
// rank had been computed from too few siblings. Variables count as said once they have
// been seen, since setting a title often overwrites them.
package procs

import "time"

// MaxStage is the largest stage that KINETOSCOPE_STAGE can ask for: stages are small
// numbers that people type, and a larger one is more likely a mistake.
const MaxStage = 9999

// MaxWorld bounds WORLD_SIZE: no job known is larger, and a wild number must not become
// a rank.
const MaxWorld = 1 << 16

// The variables that Read looks for in a process's environment.
const (
	EnvRank      = "RANK"                      // torchrun's global rank
	EnvLocalRank = "LOCAL_RANK"                // torchrun's rank on this host
	EnvWorldSize = "WORLD_SIZE"                // torchrun's number of ranks
	EnvStage     = "KINETOSCOPE_STAGE"         // the stage, 0 to MaxStage
	EnvStageName = "KINETOSCOPE_STAGE_NAME"    // the stage's name
	EnvTraceDir  = "KINETO_ONDEMAND_TRACE_DIR" // where Kineto may write
	EnvDaemon    = "KINETO_USE_DAEMON"         // Kineto asks a daemon what to record
)

// Process is what the host says of one process.
type Process struct {
	PID int
	UID int // effective: the owner of the files that it writes
	GID int // effective: the group of the files that it writes
	// Groups are the further groups whose files it may use.
	Groups []int
	// Ancestors are its parent, the parent's parent and so on, at most to pid 1. It ends
	// early where they are out of sight or too many.
	Ancestors []int
	// StartTicks is when it started, in hundredths of a second since the host's start. It
	// names the process together with PID, and orders processes: unlike StartedAt it does
	// not move when the host's clock is set.
	StartTicks uint64
	StartedAt  time.Time // by the host's clock, to a second
	// Args is its command line; one element if the process has set its title.
	Args []string
	// Env holds those of this package's variables that its environment had when the
	// program was started; nil if it may not be read. A program that sets its title
	// often overwrites its environment: then it holds what an ancestor passed on, without
	// RANK, LOCAL_RANK and WORLD_SIZE.
	Env map[string]string
	// Devices counts the different accelerators' device files that it has open.
	Devices int
	// Restricted says that part of the above is absent since the host does not show it:
	// the process is another user's, or protected.
	Restricted bool

	above *title // the nearest one of its ancestors' that says a replica
}

// Rank is a process and its place. Within a stage no two have the same Replica and Rank.
type Rank struct {
	Process   Process
	Stage     int
	StageName string // 1 to 64 letters, digits, '_' and '-'
	Replica   int
	Rank      int
	// WorldSize is the replica's number of ranks: WORLD_SIZE, or for a titled program the
	// most that were seen at a time, then always more than Rank.
	WorldSize int
}

// Skipped is a process that is not a rank.
type Skipped struct {
	PID    int
	Reason string // for people
}
