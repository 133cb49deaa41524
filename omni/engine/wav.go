package engine

// PCM16 converts samples in [-1, 1] to 16 bit; what is outside is clipped, NaN is 0.
func PCM16(samples []float32) []int16 { return nil }

// EncodeWAV returns a RIFF WAVE file of mono 16 bit PCM.
func EncodeWAV(pcm []int16, sampleRate int) []byte { return nil }
