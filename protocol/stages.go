package protocol

import "strings"

// NamedStage is a stage as pipelines call it.
type NamedStage struct {
	Name string
	Type StageType
}

// NamedStages are the names that stages usually have, of omni and diffusion pipelines, with what a stage
// of that name is. By them files are known that name no number, and servers that do not say.
var NamedStages = []NamedStage{
	{"thinker", StageLLM}, {"talker", StageLLM},
	{"code2wav", StageGeneration}, {"token2wav", StageGeneration}, {"code_predictor", StageLLM},
	{"text_encoder", StageGeneration}, {"image_encoder", StageGeneration}, {"audio_encoder", StageGeneration},
	{"vision_encoder", StageGeneration},
	{"denoise", StageDiffusion}, {"denoiser", StageDiffusion}, {"diffusion", StageDiffusion}, {"dit", StageDiffusion},
	{"vae", StageGeneration}, {"vae_decoder", StageGeneration}, {"vocoder", StageGeneration},
}

// stageWords are words of longer names that say what a stage is.
var stageWords = []NamedStage{{"denoising", StageDiffusion}, {"encoder", StageGeneration},
	{"decoder_audio", StageGeneration}}

// StageTypeOf guesses from a stage's name how the stage generates; ok is false if the name does not tell.
func StageTypeOf(name string) (t StageType, ok bool) {
	name = strings.TrimRight(strings.ToLower(name), "0123456789")
	for _, of := range [][]NamedStage{NamedStages, stageWords} {
		for _, s := range of {
			if WordAt(name, s.Name) >= 0 {
				return s.Type, true
			}
		}
	}
	return "", false
}

// WordAt returns where a word stands in a name between separators, -1 if nowhere, so that "dit" is not
// found in "edit". Both are in lower case; a digit is no separator.
func WordAt(name, word string) int {
	letter := func(b byte) bool { return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' }
	for from := 0; ; from++ {
		at := strings.Index(name[from:], word)
		if at < 0 {
			return -1
		}
		from += at
		end := from + len(word)
		if (from == 0 || !letter(name[from-1])) && (end == len(name) || !letter(name[end])) {
			return from
		}
	}
}
