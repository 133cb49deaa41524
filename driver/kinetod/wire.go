package kinetod

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The frame of libkineto's IPC fabric: a size of the sender's size_t, a type of 32 bytes,
// the payload; one frame is one datagram. Integers are in the host's byte order, for
// both ends are on one host.
const (
	sizeBytes   = 8
	kindBytes   = 32
	headerBytes = sizeBytes + kindBytes

	kindRequest = "req"  // a process asks for a config
	kindContext = "ctxt" // a process of before 2025 registers a CUDA context

	// fixedBytes is a request before its pids: type, their number, the job.
	fixedBytes = 16
	// maxPIDs bounds the pids of one request; libkineto sends itself and ten ancestors.
	maxPIDs = 64
	// maxDatagram is more than the size of the largest request; longer datagrams are ignored.
	maxDatagram = headerBytes + fixedBytes + 4*maxPIDs

	// wantsActivities is the bit of a request's type that an idle profiler sets.
	wantsActivities = 2
)

// poll is one request of a process for a config.
type poll struct {
	idle      bool // it could take a config now
	job       int64
	pid       int
	ancestors []int // parent first
}

// decodeFrame splits a datagram. The payload points into b.
func decodeFrame(b []byte) (kind string, payload []byte, err error) {
	if len(b) < headerBytes {
		return "", nil, fmt.Errorf("%d bytes are no frame: its header has %d", len(b), headerBytes)
	}
	size := binary.NativeEndian.Uint64(b)
	if size != uint64(len(b)-headerBytes) {
		return "", nil, fmt.Errorf("the frame says that it has %d bytes and has %d", size, len(b)-headerBytes)
	}
	name, _, _ := bytes.Cut(b[sizeBytes:headerBytes], []byte{0})
	return string(name), b[headerBytes:], nil
}

// decodePoll reads a request.
func decodePoll(payload []byte) (poll, error) {
	if len(payload) < fixedBytes {
		return poll{}, fmt.Errorf("a request of %d bytes: it has %d and its pids", len(payload), fixedBytes)
	}
	n := int32(binary.NativeEndian.Uint32(payload[4:]))
	if n < 1 || n > maxPIDs || int(n) != (len(payload)-fixedBytes)/4 || len(payload)%4 != 0 {
		return poll{}, fmt.Errorf("a request of %d bytes says that it has %d pids", len(payload), n)
	}
	p := poll{
		idle: binary.NativeEndian.Uint32(payload)&wantsActivities != 0,
		job:  int64(binary.NativeEndian.Uint64(payload[8:])),
	}
	for i := range int(n) {
		pid := int32(binary.NativeEndian.Uint32(payload[fixedBytes+4*i:]))
		switch {
		case pid < 1:
			return poll{}, fmt.Errorf("pid %d in a request", pid)
		case i == 0:
			p.pid = int(pid)
		default:
			p.ancestors = append(p.ancestors, int(pid))
		}
	}
	return p, nil
}

// encodeFrame makes a datagram. It is never empty: a client would read an empty one for ever.
func encodeFrame(kind string, payload []byte) []byte {
	b := make([]byte, headerBytes, headerBytes+len(payload))
	binary.NativeEndian.PutUint64(b, uint64(len(payload)))
	copy(b[sizeBytes:headerBytes-1], kind)
	return append(b, payload...)
}

// noInstances is the answer to kindContext with which the client leaves its obsolete profiler of
// CUPTI events off.
func noInstances() []byte {
	b := make([]byte, 4)
	binary.NativeEndian.PutUint32(b, ^uint32(0))
	return b
}
