package index

import (
	"encoding/binary"
	"hash/crc32"
	"unsafe"
)

// sealed makes an index of a body, with the right magic and checksum, so that the
// fuzzer gets past them.
func sealed(body []byte) []byte {
	n := len(magic) + len(body) + 8
	words := make([]uint64, n/8+1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)[:n]
	copy(b, magic)
	copy(b[len(magic):], body)
	binary.LittleEndian.PutUint64(b[n-8:], uint64(crc32.Checksum(b[:n-8], castagnoli)))
	return b
}
