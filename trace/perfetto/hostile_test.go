package perfetto

import (
	"bytes"
	"compress/zlib"
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kinetoscope/kinetoscope/trace"
)

// event is a packet of a track event at a time, on a clock.
func event(kind, at, clock uint64) []byte {
	e := appendVarint(appendVarint(nil, fieldEventType, kind), fieldEventTrackUUID, 1)
	e = appendText(e, fieldEventName, "s")
	p := appendVarint(appendVarint(nil, fieldTimestamp, at), fieldTimestampClock, clock)
	return appendMessage(p, fieldTrackEvent, e)
}

// clockOf is a clock of a snapshot.
func clockOf(id, at, unit uint64) []byte {
	c := appendVarint(appendVarint(nil, fieldClockID, id), fieldClockTime, at)
	return appendVarint(appendVarint(c, fieldClockUnit, unit), fieldClockIncremental, 1)
}

// TestReadTimesThatDoNotFit: times and steps of a clock that leave 64 bits are no times; they do not come around as
// some other ones.
func TestReadTimesThatDoNotFit(t *testing.T) {
	var file packets
	file.add(appendMessage(nil, fieldClockSnapshot, appendMessage(
		appendMessage(nil, fieldClocks, clockOf(firstSequenceClock, 5, 1e9)),
		fieldClocks, clockOf(clockBoottime, 100, 1))))
	for _, at := range []uint64{1 << 60, 3 << 60, math.MaxUint64} { // of a second each
		file.add(event(typeSliceBegin, at, firstSequenceClock))
		file.add(event(typeSliceEnd, at, firstSequenceClock))
	}
	tr, err := Read(bytes.NewReader(file.b))
	if err != nil {
		t.Fatal(err)
	}
	if tr.Slices.Len() != 3 {
		t.Fatalf("%d slices", tr.Slices.Len())
	}
	for _, at := range tr.Slices.Start {
		if at <= trace.MaxTime {
			t.Errorf("a time of more than 2^60 s became %d ns", at)
		}
	}
}

// TestReadCutAtLimit: packed packets of which only a part is read say so, wherever that part ends.
func TestReadCutAtLimit(t *testing.T) {
	var packed bytes.Buffer
	z, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	const size = 32 << 20                                     // of a field that is skipped, which divides maxUnpacked
	head := protowire.AppendTag(nil, 15, protowire.BytesType) // one byte
	head = protowire.AppendVarint(head, size-5)               // four
	for range maxUnpacked/size + 1 {
		if _, err := z.Write(append(bytes.Clone(head), make([]byte, size-5)...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var file packets
	file.add(event(typeSliceBegin, 1, clockBoottime))
	file.add(event(typeSliceEnd, 2, clockBoottime))
	file.add(appendMessage(nil, fieldCompressedPackets, packed.Bytes()))
	tr, err := Read(bytes.NewReader(file.b))
	if err != nil {
		t.Fatal(err)
	}
	if tr.Repairs.Count[trace.RepairTruncatedStream] != 1 {
		t.Errorf("nothing says that packets are left out: %v", tr.Repairs.Count)
	}
}
