package finding

import (
	"maps"
	"slices"
)

// Code identifies the subject of a finding, for programs: it is the same in every trace and every
// release, while the sentence may change. docs/troubleshooting.md explains each code with cause and
// cure.
type Code string

// Codes of doubts: those of package plausible, those about ranks, and those about what ranks say
// together.
const (
	NoTime            Code = "no_time"
	Overrun           Code = "overrun"
	SharedLane        Code = "shared_lane"
	Clock             Code = "clock"
	EarlyWork         Code = "early_work"
	NoWork            Code = "no_work"
	MissingWork       Code = "missing_work"
	UnmatchedIDs      Code = "unmatched"
	Dominant          Code = "dominant"
	NoDuration        Code = "no_duration"
	Sums              Code = "sums"
	Merged            Code = "merged"
	RankLost          Code = "rank_lost"
	NoCommonClock     Code = "no_common_clock"
	ClockUncertain    Code = "clock_uncertain"
	NotCompared       Code = "collectives_not_compared"
	TakenForCompute   Code = "taken_for_compute"
	PaceUnknown       Code = "pace_unknown"
	LaunchesUnknown   Code = "launches_unknown"
	NoSteps           Code = "no_steps"
	Unrecorded        Code = "unrecorded"
	WorkOutsideSteps  Code = "work_outside_steps"
	OperatorsInGraphs Code = "operators_in_graphs"
)

// Codes of findings about where time and memory go.
const (
	DeviceIdle     Code = "device_idle"
	DevicesIdle    Code = "devices_idle" // of several devices of one process
	ExposedComm    Code = "exposed_communication"
	ExposedCopies  Code = "exposed_copies"
	ShortKernels   Code = "short_kernels"
	QueueFull      Code = "queue_full"
	MemoryFull     Code = "memory_full"
	WaitedFor      Code = "waited_for"
	LastIn         Code = "last_in"
	HostBound      Code = "host_bound"
	DeviceBound    Code = "device_bound"
	PaceShared     Code = "pace_shared"
	DevicesInTurn  Code = "devices_in_turn"
	SlowSteps      Code = "slow_steps"
	PromptsBetween Code = "prompts_between"
	NoGraphs       Code = "no_graphs"
	StepDrift      Code = "step_drift"
	SlowFirstStep  Code = "slow_first_step"
	Bottleneck     Code = "bottleneck"
	TopOperator    Code = "top_operator"
	FirstOutput    Code = "first_output"
	CommShare      Code = "communication"
	HandoffShare   Code = "handoffs"
	QueueWait      Code = "queue_wait"
)

// codeUnits is the unit of the Number of every code's findings.
var codeUnits = map[Code]string{
	NoTime: "count", Overrun: "us", SharedLane: "%", Clock: "us", EarlyWork: "count", NoWork: "count",
	MissingWork: "count", UnmatchedIDs: "count", Dominant: "%", NoDuration: "count", Sums: "count", Merged: "count",
	RankLost: "count", NoCommonClock: "count", ClockUncertain: "us", NotCompared: "count", TakenForCompute: "us",
	PaceUnknown: "count", LaunchesUnknown: "%", DevicesInTurn: "%", NoSteps: "count", Unrecorded: "%",
	WorkOutsideSteps: "%", OperatorsInGraphs: "%",
	DeviceIdle: "%", DevicesIdle: "%", ExposedComm: "%", ExposedCopies: "%", ShortKernels: "%", QueueFull: "%",
	MemoryFull: "%", WaitedFor: "ms", LastIn: "%", HostBound: "%", DeviceBound: "%", PaceShared: "%",
	SlowSteps: "ratio", PromptsBetween: "%", NoGraphs: "count", StepDrift: "%", SlowFirstStep: "ratio",
	Bottleneck: "%", TopOperator: "%", FirstOutput: "%", CommShare: "%", HandoffShare: "%", QueueWait: "%",
}

// codeVerbs is, for every code, the verb of the command line that shows most of what its findings
// are about.
var codeVerbs = map[Code]string{
	NoTime: "inspect", Overrun: "inspect", SharedLane: "inspect", Clock: "inspect", EarlyWork: "inspect",
	NoWork: "inspect", MissingWork: "inspect", UnmatchedIDs: "inspect", Dominant: "kernels", NoDuration: "inspect",
	Sums: "inspect", Merged: "inspect", RankLost: "inspect", NoCommonClock: "inspect", ClockUncertain: "inspect",
	NotCompared: "comms", TakenForCompute: "kernels", PaceUnknown: "inspect", LaunchesUnknown: "inspect",
	DevicesInTurn: "steps", NoSteps: "inspect", Unrecorded: "inspect", WorkOutsideSteps: "steps",
	OperatorsInGraphs: "kernels", DeviceIdle: "idle", DevicesIdle: "idle", ExposedComm: "comms",
	ExposedCopies: "kernels", ShortKernels: "kernels",
	QueueFull: "idle", MemoryFull: "memory", WaitedFor: "comms", LastIn: "comms", HostBound: "idle",
	DeviceBound: "kernels", PaceShared: "idle", SlowSteps: "steps", PromptsBetween: "steps", NoGraphs: "kernels",
	StepDrift: "steps", SlowFirstStep: "steps", Bottleneck: "steps", TopOperator: "ops", FirstOutput: "steps",
	CommShare: "comms", HandoffShare: "steps", QueueWait: "steps",
}

// Verb is the verb of the command line that shows more of what findings of the code are about; ""
// for a code of an analysis that others have added.
func (c Code) Verb() string { return codeVerbs[c] }

// Codes returns every code of this project, sorted. Analyses added by others may have further
// codes.
func Codes() []Code { return slices.Sorted(maps.Keys(codeUnits)) }

// Unit is the unit of Finding.Number in findings of the code: "%", "us", "ms", "count", "ratio".
func (c Code) Unit() string { return codeUnits[c] }
