package timeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Class is the kind of a slice for a viewer, which chooses its colour by it.
type Class uint8

// The classes. Their numbers are part of the binary answer, see Slices.
const (
	ClassOther Class = iota
	ClassOp
	ClassAnnotation
	ClassRuntime
	ClassKernel
	ClassCollective
	ClassCopy
	ClassPython
	ClassOverhead
	ClassWait
	ClassPrefill
	ClassDecode
	ClassDenoise
	ClassModel // text encoder, VAE, vocoder
	ClassHandoff
	ClassSchedule
	numClasses
)

var classNames = [numClasses]string{"other", "operator", "annotation", "runtime", "kernel", "collective", "copy",
	"python", "overhead",
	"wait", "prefill", "decode", "denoise", "model", "hand-off", "schedule"}

// String returns the class's name.
func (c Class) String() string {
	if c < numClasses {
		return classNames[c]
	}
	return classNames[ClassOther]
}

// MarshalText writes the class's name.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote. A name of no class is an error that lists the
// classes.
func (c *Class) UnmarshalText(text []byte) error {
	i := slices.Index(classNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("class %q: want one of %s", text, strings.Join(classNames[:], ", "))
	}
	*c = Class(i)
	return nil
}

// Classes returns the names of the classes by number.
func Classes() []string { return classNames[:] }

// stageNames are the slices by which stages mark their work.
var stageNames = map[string]Class{
	trace.NamePrefill: ClassPrefill, trace.NameDecodeStep: ClassDecode, trace.NameDenoiseStep: ClassDenoise,
	trace.NameTextEncode: ClassModel, trace.NameVAEDecode: ClassModel, trace.NameVocode: ClassModel,
	trace.NameHandoffSend: ClassHandoff, trace.NameHandoffRecv: ClassHandoff, trace.NameWait: ClassWait,
	trace.NameSchedule: ClassSchedule, trace.NameSample: ClassSchedule,
	trace.NameAllReduce: ClassCollective, trace.NameAllGather: ClassCollective, trace.NameBroadcast: ClassCollective,
}

var catClass = map[trace.Category]Class{
	trace.CatCPUOp: ClassOp, trace.CatHPUOp: ClassOp, trace.CatUserAnnotation: ClassAnnotation,
	trace.CatGPUUserAnnotation: ClassAnnotation,
	trace.CatTraceSpan:         ClassAnnotation,
	trace.CatProfilerRange:     ClassAnnotation,
	trace.CatXPUScope:          ClassAnnotation,
	trace.CatPythonFunction:    ClassPython, trace.CatOverhead: ClassOverhead, trace.CatCUDASync: ClassWait,
	trace.CatXPUSync:   ClassWait,
	trace.CatCUDAEvent: ClassWait,
}

// classes types the names of a trace's device work, and those of stages' marks, once.
func classes(t *trace.Trace) []Class {
	out := make([]Class, t.Strings.Len())
	for text, c := range stageNames {
		if id, ok := t.Strings.Lookup(text); ok {
			out[id] = c
		}
	}
	s := &t.Slices
	for i, c := range s.Cat {
		if n := s.Name[i]; c.Busy() && out[n] == ClassOther {
			out[n] = deviceClass(c, t.String(n))
		}
	}
	return out
}

func deviceClass(c trace.Category, name string) Class {
	switch analysis.KindOf(c, name) {
	case analysis.KindCommunication:
		return ClassCollective
	case analysis.KindMemory:
		return ClassCopy
	case analysis.KindCompute:
		return ClassKernel
	}
	return ClassAnnotation // a row that encloses others
}

// classOf returns what slice i is.
func (p *part) classOf(i uint32) Class {
	c := p.t.Slices.Cat[i]
	switch {
	case c.Busy():
		return p.class[p.t.Slices.Name[i]]
	case c.Runtime():
		return ClassRuntime
	}
	if k := p.class[p.t.Slices.Name[i]]; k > ClassCopy || k == ClassCollective {
		return k
	}
	return catClass[c]
}

// collectives are kinds of collectives by what their kernels' names contain, in lower case
// without underscores. The first that fits is it.
var collectives = []struct{ part, kind string }{
	{"reducescatter", "reduce-scatter"}, {"allreduce", "all-reduce"}, {"allgather", "all-gather"},
	{"alltoall", "all-to-all"},
	{"broadcast", "broadcast"}, {"sendrecv", "send and receive"}, {"crossdevicereduce", "all-reduce"},
	{"quickreduce", "all-reduce"},
	{"dispatch", "all-to-all"}, {"combine", "all-to-all"}, {"reduce", "reduce"}, {"send", "send and receive"},
	{"recv", "send and receive"},
}

// collectiveKind says which collective a kernel is part of, by its name.
func collectiveKind(name string) string {
	low := strings.ToLower(strings.ReplaceAll(name, "_", ""))
	for _, c := range collectives {
		if strings.Contains(low, c.part) {
			return c.kind
		}
	}
	return "other collectives"
}
