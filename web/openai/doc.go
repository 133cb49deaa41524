// Package openai is the OpenAI HTTP API as data: it turns request bodies into
// [omni.Request] and outputs into response bodies. It does no I/O and knows no
// net/http beyond status numbers; package web is the shell round it.
//
// The wire format is OpenAI's (chat completions, audio speech, image
// generations, models) with the extension fields that vLLM and vLLM-Omni use:
// top_k, ignore_eos, modality, metrics and the image fields of extra_body.
// docs/http.md describes every field. What changes the meaning of a request
// and is not supported here is refused; other unknown fields are ignored.
package openai

// Limits of a request. They bound what one client can make a pipeline do.
const (
	// MaxMessages bounds a conversation: the prompt's token limit is reached
	// long before, so more is a runaway client.
	MaxMessages = 4096
	// MaxChoices is n's largest value in a chat: one request is one generation.
	MaxChoices = 1
	// MaxImages bounds n of one image request, which is one batch; OpenAI's limit.
	MaxImages = 10
	// MaxImageSide bounds width and height, in pixels; latents grow with the square.
	MaxImageSide = 4096
	// MaxSpeechInput bounds the characters of a speech request; OpenAI's limit.
	MaxSpeechInput = 4096
	// MaxImagePrompt bounds the characters of an image prompt; OpenAI's limit.
	MaxImagePrompt = 32000
	// AudioTTLSeconds is how far expires_at lies ahead. Audio is not kept for
	// later turns; clients require the field.
	AudioTTLSeconds = 3600
)
