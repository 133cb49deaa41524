package web

import (
	"strings"
	"testing"
)

// What is read of a file of keys has keys and scopes, or is refused.
func FuzzParseKeys(f *testing.F) {
	for _, s := range []string{"admin KEY", "# none\n\nread K1\nprofile K2 \n", "read", "root K", "read K\tx",
		"read \x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		keys, err := ParseKeys(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, k := range keys {
			if k.Secret == "" {
				t.Fatalf("%q gives the empty key scope %v", s, k.Scope)
			}
		}
	})
}
