package protocol

import (
	"encoding/json"
	"strings"
)

// Questions about traces that lie on nodes are answered there, by agents. The hub asks a node what
// lies at some paths (WorkFindSubject), puts a task for each file into the stream WorkStream
// (WorkTaskSubject), and takes what was found (WorkDoneSubject). A task is acknowledged after the
// hub has its result; that of an agent which died meanwhile is delivered again.

// NodeName makes the name of a node of a host's name or of a name that a user gave: letters, digits,
// "-" and "_" stay, everything else becomes "-".
func NodeName(host string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_', r == '-':
			return r
		}
		return '-'
	}, host)
	return name[:min(len(name), MaxPipelineName)]
}

// WorkStream is the stream of the tasks for a pipeline's agents.
func WorkStream(pipeline string) string { return "KS_WORK_" + pipeline }

// WorkFindSubject is where the agents of a node answer a FindRequest with a FindAnswer; node may
// be "*".
func WorkFindSubject(pipeline, node string) string { return "ks.v1.work.find." + pipeline + "." + node }

// WorkTaskSubject is where tasks of a question for a node's agents are put; node and question may
// be "*".
func WorkTaskSubject(pipeline, node, question string) string {
	return "ks.v1.work.task." + pipeline + "." + node + "." + question
}

// WorkDoneSubject is where the hub takes the results of a question, each a request that it answers
// when it has it; question may be "*".
func WorkDoneSubject(pipeline, question string) string {
	return "ks.v1.work.done." + pipeline + "." + question
}

// FindRequest asks which traces lie at paths of a node. Without paths it asks whether the node's
// agent is there.
type FindRequest struct {
	Paths []string `json:"paths,omitempty"`
}

// FindAnswer is the files that are traces, in an order that stays the same while they are there.
type FindAnswer struct {
	Files []string   `json:"files,omitempty"`
	Left  []LeftFile `json:"left,omitempty"`
	Error string     `json:"error,omitempty"` // instead: nothing can be read there, and why
}

// LeftFile is a file that is not read, and why.
type LeftFile struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Task is one file of a question.
type Task struct {
	Question string          `json:"question"` // its id
	Body     json.RawMessage `json:"body"`     // what is asked; only asker and agent know its form
	Paths    []string        `json:"paths"`    // as in the FindRequest
	Place    int             `json:"place"`    // which of the question's places it is of
	Index    int             `json:"index"`    // of the file in the FindAnswer
	File     string          `json:"file"`     // the same by name, in case others came between
}

// TaskResult is what an agent found in one file.
type TaskResult struct {
	Node  string `json:"node"`
	Place int    `json:"place"` // Task.Place
	Index int    `json:"index"` // Task.Index
	Data  []byte `json:"data,omitempty"`
	Error string `json:"error,omitempty"` // instead of Data, for the user
}
