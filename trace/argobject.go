package trace

import (
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// ArgsObject builds the JSON object of a row's arguments, for readers of formats that are not JSON.
// The zero value is an object without members.
type ArgsObject []byte

// key begins a member.
func (o *ArgsObject) key(name string) {
	if *o == nil {
		*o = append(*o, '{')
	} else {
		*o = append(*o, ", "...)
	}
	*o = append(AppendText(*o, name), ": "...)
}

// AppendText appends s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func AppendText(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // its error says that bytes were replaced, which is what is wanted
	return b
}

// Int adds an integer.
func (o *ArgsObject) Int(name string, v int64) {
	o.key(name)
	*o = strconv.AppendInt(*o, v, 10)
}

// Uint adds an integer.
func (o *ArgsObject) Uint(name string, v uint64) {
	o.key(name)
	*o = strconv.AppendUint(*o, v, 10)
}

// Float adds a number. JSON cannot hold NaN and infinities; they are left out.
func (o *ArgsObject) Float(name string, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	o.key(name)
	*o = strconv.AppendFloat(*o, v, 'g', -1, 64)
}

// Text adds a text.
func (o *ArgsObject) Text(name, v string) {
	o.key(name)
	*o = AppendText(*o, v)
}

// Raw adds a value that is already valid JSON.
func (o *ArgsObject) Raw(name string, v []byte) {
	o.key(name)
	*o = append(*o, v...)
}

// Len is the length of the object so far, bytes.
func (o ArgsObject) Len() int { return len(o) }

// Done returns the object, nil if it has no members. o must not be used afterwards.
func (o ArgsObject) Done() []byte {
	if o == nil {
		return nil
	}
	return append(o, '}')
}
