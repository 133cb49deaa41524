package openai

import (
	"encoding/binary"
	"math"
)

// WAVHeaderSize is the length of the header that AppendWAVHeader writes.
const WAVHeaderSize = 44

// UnknownSize as a sample count writes a header for a stream whose end is not
// known: both sizes are the largest, which players read as "until the end".
const UnknownSize = -1

// AppendWAVHeader appends the RIFF header of 16-bit mono PCM with samples
// samples at rate Hz. A count whose bytes do not fit the 32-bit sizes is
// written as UnknownSize.
//
// Layout, little-endian: "RIFF" size "WAVE" "fmt " 16 format=1 channels=1
// rate bytes/s block=2 bits=16 "data" size.
func AppendWAVHeader(dst []byte, rate, samples int) []byte {
	data, riff := uint32(math.MaxUint32), uint32(math.MaxUint32)
	if samples >= 0 && int64(samples)*2 <= math.MaxUint32-WAVHeaderSize {
		data = uint32(samples) * 2
		riff = data + WAVHeaderSize - 8
	}
	le := binary.LittleEndian
	dst = append(dst, "RIFF"...)
	dst = le.AppendUint32(dst, riff)
	dst = append(dst, "WAVEfmt "...)
	dst = le.AppendUint32(dst, 16)
	dst = le.AppendUint16(dst, 1) // PCM
	dst = le.AppendUint16(dst, 1) // mono
	dst = le.AppendUint32(dst, uint32(rate))
	dst = le.AppendUint32(dst, uint32(rate)*2)
	dst = le.AppendUint16(dst, 2)
	dst = le.AppendUint16(dst, 16)
	dst = append(dst, "data"...)
	return le.AppendUint32(dst, data)
}

// AppendPCM appends samples as little-endian 16-bit words.
func AppendPCM(dst []byte, samples []int16) []byte {
	for _, s := range samples {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(s))
	}
	return dst
}
