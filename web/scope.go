package web

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/web/api"
)

// Scope is what a key opens. Each one opens what those before it do.
type Scope string

// The scopes.
const (
	ScopeRead Scope = "read" // everything that changes nothing: sessions, artifacts, timelines
	// ScopeProfile also starts and stops sessions, labels runs, uploads traces and asks nodes.
	ScopeProfile Scope = "profile"
	ScopeAdmin   Scope = "admin" // everything, generation too
)

var scopes = []Scope{ScopeRead, ScopeProfile, ScopeAdmin}

// opens reports whether a key of scope s may use what needs scope other.
func (s Scope) opens(other Scope) bool { return slices.Index(scopes, s) >= slices.Index(scopes, other) }

// Key is a key and what it opens.
type Key struct {
	Scope  Scope
	Secret string
}

// maxKeys bounds a file of keys, because each request is compared with all of them.
const maxKeys = 256

// CheckKey refuses a key that a header cannot carry, and the empty key.
func CheckKey(secret string) error {
	if secret == "" || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("a key is one or more printable ASCII characters without spaces")
	}
	return nil
}

// ParseKeys reads keys, one a line: its scope, a space, the key. Empty lines and those that
// begin with # are left out. An error names the line, and shows no key.
func ParseKeys(r io.Reader) ([]Key, error) {
	var keys []Key
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		scope, secret, _ := strings.Cut(line, " ")
		secret = strings.TrimSpace(secret)
		if !slices.Contains(scopes, Scope(scope)) {
			return nil, fmt.Errorf("line %d begins with no scope: want read, profile or admin, a space, and the key", n)
		}
		if err := CheckKey(secret); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(keys) == maxKeys {
			return nil, fmt.Errorf("line %d: more than %d keys", n, maxKeys)
		}
		keys = append(keys, Key{Scope(scope), secret})
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return keys, nil
}

// profileRoutes are the routes that a profile key opens besides those of a read key.
var profileRoutes = map[string]bool{"/start_profile": true, "/stop_profile": true, "/v1/estimate": true,
	api.QuestionsPath: true}

// profileMethods are the methods that a profile key opens on routes that a read key may read:
// labelling runs and uploading traces. Deleting needs an admin key.
var profileMethods = map[string]string{"/v1/runs": http.MethodPost, "/v1/runs/{id}": http.MethodPatch}

// needs is the scope for a request on a route.
func needs(pattern, method string) Scope {
	switch {
	case profileRoutes[pattern]: // some servers start and stop with a GET
		return ScopeProfile
	case method == http.MethodGet || method == http.MethodHead:
		return ScopeRead
	case profileMethods[pattern] == method:
		return ScopeProfile
	}
	return ScopeAdmin
}
