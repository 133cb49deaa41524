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

// Of returns the names of E's values in their order. what is the name of E itself, for values
// without a name and for errors about texts that name no value.
func Of[E ~uint8](what string, names ...string) Names[E] { return Names[E]{what, names} }

// Text returns e's name, or what and its number if it has none.
func (n Names[E]) Text(e E) string {
	if int(e) < len(n.names) {
		return n.names[e]
	}
	return fmt.Sprintf("%s(%d)", n.what, uint8(e))
}

// Marshal is Text for encoding.TextMarshaler. It never fails.
func (n Names[E]) Marshal(e E) ([]byte, error) { return []byte(n.Text(e)), nil }

// Unmarshal sets e to the value that text names, for encoding.TextUnmarshaler. The error lists the
// names.
func (n Names[E]) Unmarshal(e *E, text []byte) error {
	for i, name := range n.names {
		if name == string(text) {
			*e = E(i)
			return nil
		}
	}
	return fmt.Errorf("%s %q: want one of %s", n.what, text, strings.Join(n.names, ", "))
}
