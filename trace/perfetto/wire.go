package perfetto

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers, from protos/perfetto/trace of the Perfetto project.
const (
	fieldTracePacket = 1 // Trace.packet

	// TracePacket
	fieldClockSnapshot     = 6
	fieldTimestamp         = 8
	fieldSequenceID        = 10
	fieldTrackEvent        = 11
	fieldInternedData      = 12
	fieldSequenceFlags     = 13
	fieldCompressedPackets = 50
	fieldTrackDescriptor   = 60
	fieldFirstPacket       = 87
	// Read only.
	fieldTrustedUID        = 3
	fieldPacketDropped     = 42
	fieldProcessDescriptor = 43
	fieldThreadDescriptor  = 44
	fieldTimestampClock    = 58
	fieldPacketDefaults    = 59
	fieldTrustedPID        = 79
	fieldMachineID         = 98

	// TracePacketDefaults
	fieldEventDefaults = 11

	// ClockSnapshot and ClockSnapshot.Clock
	fieldClocks       = 1
	fieldPrimaryClock = 2
	fieldClockID      = 1
	fieldClockTime    = 2
	// Read only.
	fieldClockIncremental = 3
	fieldClockUnit        = 4

	// TrackDescriptor
	fieldTrackUUID    = 1
	fieldTrackName    = 2
	fieldTrackProcess = 3
	fieldTrackThread  = 4
	fieldTrackParent  = 5
	fieldTrackCounter = 8
	fieldChildOrder   = 11
	fieldSiblingOrder = 12

	// ProcessDescriptor
	fieldProcessPID    = 1
	fieldProcessName   = 6
	fieldProcessLabels = 8

	// ThreadDescriptor
	fieldThreadPID  = 1
	fieldThreadTID  = 2
	fieldThreadName = 5

	// CounterDescriptor
	fieldCounterUnit = 3
	// Read only.
	fieldCounterMultiplier  = 4
	fieldCounterIncremental = 5

	// TrackDescriptor, read only
	fieldTrackStaticName = 10

	// TrackEvent
	fieldEventCategoryIIDs = 3
	fieldEventAnnotations  = 4
	fieldEventType         = 9
	fieldEventNameIID      = 10
	fieldEventTrackUUID    = 11
	fieldEventCounter      = 30
	fieldEventDouble       = 44
	fieldEventFlows        = 47
	fieldEventFlowEnds     = 48
	// Read only.
	fieldEventTimeDelta    = 1
	fieldEventLegacy       = 6
	fieldEventTimeAbsolute = 16
	fieldEventCategory     = 22
	fieldEventName         = 23
	fieldEventOldFlows     = 36
	fieldEventOldFlowEnds  = 42

	// LegacyEvent: a phase of Chrome's JSON in a packet
	fieldLegacyPhase    = 2
	fieldLegacyDuration = 3

	// InternedData, and the entries of its tables
	fieldInternedCategories  = 1
	fieldInternedNames       = 2
	fieldInternedAnnotations = 3
	fieldInternedStrings     = 29 // read only
	fieldEntryIID            = 1
	fieldEntryName           = 2

	// DebugAnnotation
	fieldAnnotationNameIID = 1
	fieldAnnotationBool    = 2
	fieldAnnotationUint    = 3
	fieldAnnotationInt     = 4
	fieldAnnotationDouble  = 5
	fieldAnnotationString  = 6
	fieldAnnotationName    = 10
	fieldAnnotationDict    = 11
	fieldAnnotationArray   = 12
	// Read only.
	fieldAnnotationPointer   = 7
	fieldAnnotationJSON      = 9
	fieldAnnotationStringIID = 17
)

// Values of enumerations.
const (
	typeSliceBegin = 1 // TrackEvent.Type
	typeSliceEnd   = 2
	typeInstant    = 3
	typeCounter    = 4

	flagStateCleared = 1 // TracePacket.SequenceFlags
	flagNeedsState   = 2

	clockRealtime = 1 // BuiltinClock
	clockBoottime = 6
	// firstSequenceClock is the first id of clocks that belong to one sequence.
	firstSequenceClock = 64

	orderExplicit = 3 // TrackDescriptor.ChildTracksOrdering

	unitCount = 2 // CounterDescriptor.Unit
	unitBytes = 3
)

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendFixed64(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), v)
}

func appendDouble(b []byte, field protowire.Number, v float64) []byte {
	return appendFixed64(b, field, math.Float64bits(v))
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendMessage(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}
