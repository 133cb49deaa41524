package perfetto

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds how deep an argument's arrays and objects are followed; what lies
// deeper is written as text. Kineto's deepest is a list of lists of dims, 3.
const maxDepth = 8

// annotations appends the members of the raw JSON object to the event, as
// DebugAnnotations. What is no JSON object is written as the text "args".
func (p *Writer) annotations(raw []byte) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	mark := len(p.event)
	tok, err := d.ReadToken()
	if err == nil && tok.Kind() == '{' {
		for err == nil && d.PeekKind() != '}' {
			err = p.annotation(d)
		}
		if err == nil {
			return
		}
	}
	p.event = p.event[:mark]
	whole := appendVarint(nil, fieldAnnotationNameIID, p.intern(&p.keys, "args"))
	whole = appendText(whole, fieldAnnotationString, strings.ToValidUTF8(string(raw), "\uFFFD"))
	p.event = appendMessage(p.event, fieldEventAnnotations, whole)
}

// annotation appends one member.
func (p *Writer) annotation(d *jsontext.Decoder) error {
	key, err := d.ReadToken()
	if err != nil {
		return err
	}
	b := appendVarint(nil, fieldAnnotationNameIID, p.intern(&p.keys, key.String()))
	if b, err = appendValue(b, d, 1); err != nil {
		return err
	}
	p.event = appendMessage(p.event, fieldEventAnnotations, b)
	return nil
}

// appendValue appends the value fields of a DebugAnnotation.
func appendValue(b []byte, d *jsontext.Decoder, depth int) ([]byte, error) {
	kind := d.PeekKind()
	if (kind == '{' || kind == '[') && depth >= maxDepth {
		raw, err := d.ReadValue()
		return appendText(b, fieldAnnotationString, strings.ToValidUTF8(string(raw), "\uFFFD")), err
	}
	tok, err := d.ReadToken()
	if err != nil {
		return b, err
	}
	switch kind {
	case '"':
		return appendText(b, fieldAnnotationString, tok.String()), nil
	case 't', 'f':
		if tok.Bool() {
			return appendVarint(b, fieldAnnotationBool, 1), nil
		}
		return appendVarint(b, fieldAnnotationBool, 0), nil
	case '0':
		return appendNumber(b, tok), nil
	case '{', '[':
		return appendNested(b, d, kind, depth)
	}
	return appendText(b, fieldAnnotationString, "null"), nil
}

func appendNested(b []byte, d *jsontext.Decoder, kind jsontext.Kind, depth int) ([]byte, error) {
	for {
		switch d.PeekKind() {
		case '}', ']', 0: // 0: ReadToken has the error
			_, err := d.ReadToken()
			return b, err
		}
		var member []byte
		if kind == '{' {
			key, err := d.ReadToken()
			if err != nil {
				return b, err
			}
			member = appendText(member, fieldAnnotationName, key.String())
		}
		member, err := appendValue(member, d, depth+1)
		if err != nil {
			return b, err
		}
		if kind == '{' {
			b = appendMessage(b, fieldAnnotationDict, member)
		} else {
			b = appendMessage(b, fieldAnnotationArray, member)
		}
	}
}

// appendNumber keeps integers exact; ids and addresses pass 2^53.
func appendNumber(b []byte, tok jsontext.Token) []byte {
	text := tok.String()
	if !strings.ContainsAny(text, ".eE") {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return appendVarint(b, fieldAnnotationInt, uint64(i))
		}
		if u, err := strconv.ParseUint(text, 10, 64); err == nil {
			return appendVarint(b, fieldAnnotationUint, u)
		}
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return appendDouble(b, fieldAnnotationDouble, f)
	}
	return appendText(b, fieldAnnotationString, text)
}
