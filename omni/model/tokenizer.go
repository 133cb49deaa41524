package model

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Special tokens of the built-in tokenizer follow the 256 bytes.
const (
	tokenBOS = 256 + iota
	tokenEOS
	tokenPad
	tokenSystem
	tokenUser
	tokenAssistant
	tokenEndOfTurn
	// firstPiece leaves room for more specials.
	firstPiece = 272
)

// ChatTurn is one turn of a conversation.
type ChatTurn struct {
	Role    string // "system", "user", "assistant"
	Content string
}

// Tokenizer is the built-in byte-level tokenizer. Its vocabulary is the 256 bytes, the
// special tokens, and a table of words made for the project: text is cut into the
// longest words first and falls back to bytes, so every text is reversible. It may be
// used by several goroutines.
type Tokenizer struct {
	pieces      []string // by id-firstPiece
	ids         map[string]int32
	longest     int
	unprintable []int32
}

// NewTokenizer returns a tokenizer for a model of vocabSize tokens; words that do not
// fit are left out. It needs room for bytes and specials.
func NewTokenizer(vocabSize int) (*Tokenizer, error) {
	if vocabSize < firstPiece {
		return nil, fmt.Errorf("tokenizer: vocabulary of %d, want at least %d for bytes and special tokens", vocabSize,
			firstPiece)
	}
	k := &Tokenizer{ids: map[string]int32{}}
	add := func(p string) {
		if _, dup := k.ids[p]; !dup && firstPiece+len(k.pieces) < vocabSize {
			k.ids[p] = int32(firstPiece + len(k.pieces))
			k.pieces = append(k.pieces, p)
			k.longest = max(k.longest, len(p))
		}
	}
	bare, rest, _ := strings.Cut(words, "|")
	for _, w := range strings.Fields(bare) {
		add(w)
	}
	for _, w := range strings.Fields(bare + rest) {
		add(" " + w)
	}
	for id := range vocabSize {
		if id != tokenEOS && id < firstPiece || id >= firstPiece+len(k.pieces) {
			k.unprintable = append(k.unprintable, int32(id))
		}
	}
	return k, nil
}

// Encode cuts text into tokens; no specials are added.
func (k *Tokenizer) Encode(text string) []int32 { return k.encode(nil, text) }

func (k *Tokenizer) encode(ids []int32, text string) []int32 {
next:
	for len(text) > 0 {
		for n := min(k.longest, len(text)); n > 0; n-- {
			if id, ok := k.ids[text[:n]]; ok {
				ids = append(ids, id)
				text = text[n:]
				continue next
			}
		}
		ids = append(ids, int32(text[0]))
		text = text[1:]
	}
	return ids
}

// EncodeChat renders a conversation, ending where the assistant's answer begins. A role
// that is not known counts as the user's.
func (k *Tokenizer) EncodeChat(turns []ChatTurn) []int32 {
	ids := []int32{tokenBOS}
	for _, t := range turns {
		role := int32(tokenUser)
		switch t.Role {
		case "system":
			role = tokenSystem
		case "assistant":
			role = tokenAssistant
		}
		ids = append(k.encode(append(ids, role), t.Content), tokenEndOfTurn)
	}
	return append(ids, tokenAssistant)
}

// text is what a token stands for, "" for specials and unknown ids.
func (k *Tokenizer) text(id int32) string {
	switch {
	case id < 0:
		return ""
	case id < 256:
		return string([]byte{byte(id)})
	case id >= firstPiece && int(id)-firstPiece < len(k.pieces):
		return k.pieces[id-firstPiece]
	}
	return ""
}

// Decode joins tokens to text; specials and unknown ids give nothing, bytes that are not
// UTF-8 give U+FFFD.
func (k *Tokenizer) Decode(ids []int32) string {
	d := k.NewDetokenizer()
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(d.Push(id))
	}
	b.WriteString(d.Flush())
	return b.String()
}

// EOS is the token that ends an answer.
func (k *Tokenizer) EOS() int32 { return tokenEOS }

// Unprintable are the tokens that a model with dummy weights should not choose: single
// bytes, specials other than EOS, ids without text. Put them to Sampler.Suppress. Not to
// be modified.
func (k *Tokenizer) Unprintable() []int32 { return k.unprintable }

// Detokenizer turns a stream of tokens to text, never cutting a UTF-8 sequence.
type Detokenizer struct {
	k       *Tokenizer
	pending []byte // the beginning of a sequence, less than utf8.UTFMax bytes
}

// NewDetokenizer begins a stream.
func (k *Tokenizer) NewDetokenizer() *Detokenizer { return &Detokenizer{k: k} }

// Push takes one token and returns the text that is complete now, possibly none.
func (d *Detokenizer) Push(id int32) string {
	d.pending = append(d.pending, d.k.text(id)...)
	return d.take(false)
}

// Flush ends the stream; what is left of an incomplete UTF-8 sequence gives U+FFFD.
func (d *Detokenizer) Flush() string { return d.take(true) }

func (d *Detokenizer) take(all bool) string {
	var b strings.Builder
	for len(d.pending) > 0 && (all || utf8.FullRune(d.pending)) {
		r, n := utf8.DecodeRune(d.pending)
		b.WriteRune(r)
		d.pending = d.pending[n:]
	}
	if len(d.pending) == 0 {
		d.pending = nil
	}
	return b.String()
}
