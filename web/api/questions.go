package api

import (
	"encoding/json"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Question is the body of a POST to QuestionsPath: a question about traces that lie on nodes, to be
// answered by the agents there.
type Question struct {
	Body json.RawMessage `json:"body"` // what is asked, as the verbs of this version write it
	At   []Place         `json:"at"`   // at least one
}

// Place is paths of one node.
type Place struct {
	Node  string   `json:"node"`
	Paths []string `json:"paths"` // "" or none: all that the node's agent shows
}

// QuestionPart is one line of the answer, which comes as one JSON object a line while the nodes
// work. Of each place comes first what was found there, with Files; then a line for each file,
// with Data; the last line has Done or Error.
type QuestionPart struct {
	Place int                 `json:"place"` // index into Question.At
	Files []string            `json:"files,omitempty"`
	Left  []protocol.LeftFile `json:"left,omitempty"` // what is there and is not read
	Index int                 `json:"index"`          // of the file in Files
	Data  []byte              `json:"data,omitempty"` // what was found in it
	Done  bool                `json:"done,omitempty"`
	Error *ErrorBody          `json:"error,omitempty"`
}
