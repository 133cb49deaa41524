package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
)

// A frame is a JSON header with tensors and blobs behind it:
//
//	0         4          6        8
//	| n u32   | t u16    | b u16  | t+b sizes, u32 each | n bytes of JSON | float32 ... | bytes ... |
//
// all little-endian; a tensor's size counts floats, a blob's bytes.
const framePrefix = 8

// maxParts bounds the tensors and the blobs of a frame: the largest batch of a stage
// times what one request hands over.
const maxParts = 4096

// EncodeFrame returns a frame: head, marshalled as JSON, then tensors and blobs.
func EncodeFrame(head any, tensors [][]float32, blobs [][]byte) ([]byte, error) {
	if len(tensors) > maxParts || len(blobs) > maxParts {
		return nil, fmt.Errorf("encode frame: %d tensors and %d blobs, at most %d each", len(tensors), len(blobs),
			maxParts)
	}
	js, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("encode frame: %w", err)
	}
	if len(js) > MaxHeader {
		return nil, fmt.Errorf("encode frame: header of %d bytes is over %d", len(js), MaxHeader)
	}
	size := framePrefix + 4*(len(tensors)+len(blobs)) + len(js)
	for _, t := range tensors {
		size += 4 * len(t)
	}
	for _, b := range blobs {
		size += len(b)
	}
	buf := make([]byte, 0, size)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(js)))
	buf = binary.LittleEndian.AppendUint16(buf, uint16(len(tensors)))
	buf = binary.LittleEndian.AppendUint16(buf, uint16(len(blobs)))
	for _, t := range tensors {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(t)))
	}
	for _, b := range blobs {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(b)))
	}
	buf = append(buf, js...)
	for _, t := range tensors {
		for _, v := range t {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
		}
	}
	for _, b := range blobs {
		buf = append(buf, b...)
	}
	return buf, nil
}

// DecodeFrame reads a frame into head and returns its tensors and blobs, which do
// not share memory with data.
func DecodeFrame(data []byte, head any) (tensors [][]float32, blobs [][]byte, err error) {
	if len(data) < framePrefix {
		return nil, nil, fmt.Errorf("decode frame: %d bytes, want %d and more", len(data), framePrefix)
	}
	n := int64(binary.LittleEndian.Uint32(data))
	nt, nb := int(binary.LittleEndian.Uint16(data[4:])), int(binary.LittleEndian.Uint16(data[6:]))
	if nt > maxParts || nb > maxParts || n > MaxHeader {
		return nil, nil, fmt.Errorf("decode frame: %d tensors, %d blobs, header of %d bytes: over the limits", nt, nb,
			n)
	}
	sizes, rest := data[framePrefix:], data[framePrefix:]
	want := 4*int64(nt+nb) + n
	if int64(len(rest)) < want {
		return nil, nil, fmt.Errorf("decode frame: cut: %d bytes, want %d and more", len(data), want+framePrefix)
	}
	for i := range nt + nb {
		size := int64(binary.LittleEndian.Uint32(sizes[4*i:]))
		if i < nt {
			size *= 4
		}
		want += size
	}
	if int64(len(rest)) != want {
		return nil, nil, fmt.Errorf("decode frame: %d bytes, its sizes say %d", len(data), want+framePrefix)
	}
	rest = rest[4*(nt+nb):]
	if err := json.Unmarshal(rest[:n], head); err != nil {
		return nil, nil, fmt.Errorf("decode frame header: %w", err)
	}
	rest = rest[n:]
	for i := range nt {
		t := make([]float32, binary.LittleEndian.Uint32(sizes[4*i:]))
		for j := range t {
			t[j] = math.Float32frombits(binary.LittleEndian.Uint32(rest[4*j:]))
		}
		tensors, rest = append(tensors, t), rest[4*len(t):]
	}
	for i := range nb {
		size := binary.LittleEndian.Uint32(sizes[4*(nt+i):])
		blobs, rest = append(blobs, append([]byte{}, rest[:size]...)), rest[size:]
	}
	return tensors, blobs, nil
}
