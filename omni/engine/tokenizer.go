package engine

// ChatTurn is one turn of a conversation.
type ChatTurn struct {
	Role    string // "system", "user", "assistant"
	Content string
}

// Tokenizer is the built-in byte-level tokenizer. Its vocabulary is the 256 bytes, the
// special tokens, and a table of word pieces made for the project: text is cut into the
// longest pieces first and falls back to bytes, so every text is reversible.
type Tokenizer struct {
	vocab int
}

// NewTokenizer returns a tokenizer for a model of vocabSize tokens; pieces that do not
// fit are left out. It needs room for bytes and specials.
func NewTokenizer(vocabSize int) (*Tokenizer, error) { return &Tokenizer{vocab: vocabSize}, nil }

// Encode cuts text into tokens; no specials are added.
func (k *Tokenizer) Encode(text string) []int32 { return nil }

// EncodeChat renders a conversation, ending where the assistant's answer begins.
func (k *Tokenizer) EncodeChat(turns []ChatTurn) []int32 { return nil }

// Decode joins tokens to text; specials and unknown ids give nothing, bytes that are not
// UTF-8 give U+FFFD.
func (k *Tokenizer) Decode(ids []int32) string { return "" }

// EOS is the token that ends an answer.
func (k *Tokenizer) EOS() int32 { return 0 }

// Unprintable are the tokens that a model with dummy weights should not choose: single
// bytes and specials other than EOS. Put them to Sampler.Suppress. Not to be modified.
func (k *Tokenizer) Unprintable() []int32 { return nil }

// Detokenizer turns a stream of tokens to text, never cutting a UTF-8 sequence.
type Detokenizer struct {
	k *Tokenizer
}

// NewDetokenizer begins a stream.
func (k *Tokenizer) NewDetokenizer() *Detokenizer { return &Detokenizer{k: k} }

// Push takes one token and returns the text that is complete now, possibly none.
func (d *Detokenizer) Push(id int32) string { return "" }

// Flush ends the stream; what is left of an incomplete UTF-8 sequence gives U+FFFD.
func (d *Detokenizer) Flush() string { return "" }
