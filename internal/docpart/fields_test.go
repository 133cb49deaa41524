package docpart

import (
	"reflect"
	"testing"
	"time"
)

// Inner is embedded: its fields are the outer ones'.
type Inner struct {
	// Share is a part
	// of one.
	Share float64 `json:"share"`
}

// Part2 has a list of itself.
type Part2 struct {
	Sub []Part2 `json:"sub"` // what it is made of
}

// Word is text in JSON.
type Word uint8

// MarshalText writes the word.
func (w Word) MarshalText() ([]byte, error) { return []byte{byte('a' + w)}, nil }

// Bare has a field that says nothing.
type Bare struct {
	X int `json:"x"`
}

func TestFieldsRefuses(t *testing.T) {
	s := Source{Module: "github.com/kinetoscope/kinetoscope", Root: "../.."}
	if _, err := s.Fields(reflect.TypeFor[Bare]()); err == nil {
		t.Error("a field without a comment is described")
	}
	if _, err := s.Fields(reflect.TypeFor[time.Time]()); err == nil {
		t.Error("a type of somebody else is described")
	}
}

// Whole has all that the table must say.
type Whole struct {
	Inner
	Name   string       `json:"name"`            // who | what
	Parts  []Part2      `json:"parts,omitempty"` // of Name, by Part2.Sub
	Next   *Whole       `json:"next"`            // the one after it
	_      int          // no field of JSON
	Skip   int          `json:"-"`
	Counts map[Word]int `json:"counts"` // by word
	OK     bool         // said plainly
	First  Part2        `json:"first"`
}

func TestFieldsTable(t *testing.T) {
	s := Source{Module: "github.com/kinetoscope/kinetoscope", Root: "../.."}
	want := `### Fields of Whole
Whole has all that the table must say.

| field | type | meaning |
|---|---|---|
| ` + "`share`" + ` | number | ` + "`share`" + ` is a part of one. |
| ` + "`name`" + ` | text | who \| what |
| ` + "`parts`" + ` | list of [Part2](#fields-of-part2), may be left out | of ` + "`name`, by `sub` of Part2" + ` |
| ` + "`next`" + ` | [Whole](#fields-of-whole) or null | the one after it |
| ` + "`counts`" + ` | object: text to whole number | by word |
| ` + "`OK`" + ` | true or false | said plainly |
| ` + "`first`" + ` | [Part2](#fields-of-part2) | Part2 has a list of itself. |

### Fields of Part2
Part2 has a list of itself.

| field | type | meaning |
|---|---|---|
| ` + "`sub`" + ` | list of [Part2](#fields-of-part2) | what it is made of |
`
	if got, err := s.Fields(reflect.TypeFor[Whole]()); err != nil || got != want {
		t.Errorf("%v, got\n%s", err, got)
	}
}
