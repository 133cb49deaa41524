// Package enum gives the small enumerations of the analyses their names, in sentences and
// in JSON.
package enum

import (
	"fmt"
	"strings"
)

// Names are the names of an enumeration's values, which count up from 0. Two values do not
// share a name.
type Names[E ~uint8] struct {
	what  string
	names []string
}

// Of names the values of E in their order; what is E's own name, for values and texts that
// are none of them.
func Of[E ~uint8](what string, names ...string) Names[E] { return Names[E]{what, names} }

// Text returns e's name. A value that has none is its number.
func (n Names[E]) Text(e E) string {
	if int(e) < len(n.names) {
		return n.names[e]
	}
	return fmt.Sprintf("%s(%d)", n.what, uint8(e))
}

// Marshal is Text for encoding.TextMarshaler. It never fails.
func (n Names[E]) Marshal(e E) ([]byte, error) { return []byte(n.Text(e)), nil }

// Unmarshal sets e to the value that text names, for encoding.TextUnmarshaler. The error
// says what it could have been.
func (n Names[E]) Unmarshal(e *E, text []byte) error {
	for i, name := range n.names {
		if name == string(text) {
			*e = E(i)
			return nil
		}
	}
	return fmt.Errorf("%s %q: want one of %s", n.what, text, strings.Join(n.names, ", "))
}
