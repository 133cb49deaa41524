package model

import (
	"encoding/binary"
	"math"
)

// PCM16 converts samples in [-1, 1] to 16 bit; what is outside is clipped, NaN is 0.
func PCM16(samples []float32) []int16 {
	out := make([]int16, len(samples))
	for i, v := range samples {
		if v != v {
			continue
		}
		out[i] = int16(math.RoundToEven(float64(max(-1, min(1, v))) * math.MaxInt16))
	}
	return out
}

// EncodeWAV returns a RIFF WAVE file (Microsoft and IBM, "Multimedia Programming
// Interface and Data Specifications 1.0", 1991) of mono 16 bit PCM.
func EncodeWAV(pcm []int16, sampleRate int) []byte {
	const header, bytesPerSample = 44, 2
	n := len(pcm) * bytesPerSample
	le := binary.LittleEndian
	b := make([]byte, 0, header+n)
	b = append(b, "RIFF"...)
	b = le.AppendUint32(b, uint32(header-8+n))
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16) // bytes of the format
	b = le.AppendUint16(b, 1)  // PCM
	b = le.AppendUint16(b, 1)  // channels
	b = le.AppendUint32(b, uint32(sampleRate))
	b = le.AppendUint32(b, uint32(sampleRate*bytesPerSample))
	b = le.AppendUint16(b, bytesPerSample)
	b = le.AppendUint16(b, 8*bytesPerSample)
	b = append(b, "data"...)
	b = le.AppendUint32(b, uint32(n))
	for _, v := range pcm {
		b = le.AppendUint16(b, uint16(v))
	}
	return b
}
