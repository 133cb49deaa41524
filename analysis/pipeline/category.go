package pipeline

import (
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/analysis/label"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Category is what a rank did at an instant. The order is the order of precedence
// between tracks of one rank.
type Category uint8

// The categories of time.
const (
	CatPrefill Category = iota
	CatDecode
	CatTextEncode
	CatDenoise
	CatVAEDecode
	CatVocode
	CatComm
	CatHandoff
	CatSchedule
	CatSample
	CatOps   // operators outside any step
	CatWait  // nothing to do, as the rank itself recorded
	CatOther // nothing recorded
	NumCategories
)

var categoryNames = enum.Of[Category]("category", "prefill", "decode", "text_encode", "denoise", "vae_decode", "vocode",
	"communication", "handoff", "schedule", "sample", "operators", "wait", "other")

// categoryLetters draw the categories in a strip.
const categoryLetters = "pdenvachsmow."

// OutsideWindow is the letter of a cell in which the rank did not record.
const OutsideWindow = ' '

// String returns the category's name in report.json.
func (c Category) String() string { return categoryNames.Text(c) }

// Letter returns the letter that stands for c in Rank.Strip.
func (c Category) Letter() byte {
	if c < NumCategories {
		return categoryLetters[c]
	}
	return '?'
}

// CategoryOfLetter is the inverse of Letter; false for [OutsideWindow] and letters of no category.
func CategoryOfLetter(b byte) (Category, bool) {
	c := strings.IndexByte(categoryLetters, b)
	return Category(max(c, 0)), c >= 0
}

// IsWork reports whether c is model work: the steps of a stage and operators outside them.
func (c Category) IsWork() bool { return c <= CatVocode || c == CatSample || c == CatOps }

// IsBusy reports whether a rank in c could take no other work.
func (c Category) IsBusy() bool { return c < CatWait }

// IsStep reports whether the slices of c are steps, counted in Rank.Steps.
func (c Category) IsStep() bool { return c <= CatVocode }

// MarshalText writes the category's name.
func (c Category) MarshalText() ([]byte, error) { return categoryNames.Marshal(c) }

// UnmarshalText reads the category's name.
func (c *Category) UnmarshalText(b []byte) error { return categoryNames.Unmarshal(c, b) }

// class classifies a slice more finely than Category: it separates waits by reason, and includes
// slices without a category that matter to requests.
type class uint8

const (
	clsUnseen class = iota // the name was not looked at yet
	clsNone                // ignored
	clsRequest
	clsPrefill
	clsDecode
	clsTextEncode
	clsDenoise
	clsVAEDecode
	clsVocode
	clsComm
	clsSend
	clsRecv
	clsSchedule
	clsSample
	clsOp
	clsWait // the reason is not known
	clsWaitQueue
	clsWaitInput
	clsWaitPeer
	clsIdle // no slice at all
	numClasses
)

var classCategory = [numClasses]Category{
	clsPrefill: CatPrefill, clsDecode: CatDecode, clsTextEncode: CatTextEncode, clsDenoise: CatDenoise,
	clsVAEDecode: CatVAEDecode, clsVocode: CatVocode, clsComm: CatComm, clsSend: CatHandoff, clsRecv: CatHandoff,
	clsSchedule: CatSchedule, clsSample: CatSample, clsOp: CatOps, clsWait: CatWait, clsWaitQueue: CatWait,
	clsWaitInput: CatWait, clsWaitPeer: CatWait, clsIdle: CatOther,
	clsUnseen: CatOther, clsNone: CatOther, clsRequest: CatOther,
}

// isStep reports whether slices of c are steps.
func (c class) isStep() bool { return c >= clsPrefill && c <= clsVocode }

// timed reports whether slices of c own time.
func (c class) timed() bool { return c >= clsPrefill && c < clsIdle }

var exactClass = map[string]class{
	trace.NamePrefill: clsPrefill, trace.NameDecodeStep: clsDecode, trace.NameTextEncode: clsTextEncode,
	trace.NameDenoiseStep: clsDenoise, trace.NameVAEDecode: clsVAEDecode, trace.NameVocode: clsVocode,
	trace.NameHandoffSend: clsSend, trace.NameHandoffRecv: clsRecv, trace.NameWait: clsWait,
	trace.NameSchedule: clsSchedule, trace.NameSample: clsSample, trace.NameRequest: clsRequest,
}

// nameClass classifies by name alone; clsNone if the name says nothing.
func nameClass(name string) class {
	if c, ok := exactClass[name]; ok {
		return c
	}
	if coll.HostLabel(name) {
		return clsComm
	}
	if l, ok := label.Engine(name); ok && !l.Skip {
		return kindClass[l.Kind]
	}
	return clsNone
}

// kindClass are the classes of the steps that engines label. A batch of prompts and of
// sequences that decode counts as prefill: it takes as long as its prompts.
var kindClass = [label.NumKinds]class{
	label.Unknown: clsNone, label.Prefill: clsPrefill, label.Decode: clsDecode, label.Mixed: clsPrefill,
	label.Denoise:    clsDenoise,
	label.TextEncode: clsTextEncode, label.VAEDecode: clsVAEDecode, label.Vocode: clsVocode, label.Generation: clsNone,
	label.Training: clsNone,
}

// classifier classifies the slices of one trace, looking at each name once.
type classifier struct {
	t    *trace.Trace
	seen []class
}

func (k *classifier) slice(i int) class {
	s := &k.t.Slices
	id := int(s.Name[i])
	if id >= len(k.seen) {
		k.seen = append(k.seen, make([]class, id+1-len(k.seen))...)
	}
	c := k.seen[id]
	if c == clsUnseen {
		c = nameClass(k.t.String(s.Name[i]))
		k.seen[id] = c
	}
	switch {
	case c == clsWait:
		return k.waitReason(i)
	case c != clsNone:
		return c
	case s.Cat[i] == trace.CatCPUOp:
		return clsOp
	case s.Cat[i] == trace.CatCollectiveComm:
		return clsComm
	}
	return clsNone
}

func (k *classifier) waitReason(i int) class {
	switch r, _ := k.t.ArgText(i, trace.ArgReason); r {
	case "queue":
		return clsWaitQueue
	case "input":
		return clsWaitInput
	case "peer":
		return clsWaitPeer
	}
	return clsWait
}
