package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/web/openai"
)

// loginLife is how long a browser stays logged in: a working day.
const loginLife = 12 * time.Hour

// openRoutes need no key: the status page's files and extensions for Perfetto, which hold no data, what
// load balancers and Prometheus ask for, and the login. Every other route controls or reveals recordings,
// or makes the pipeline work.
var openRoutes = map[string]bool{
	"/{$}": true, "/ui/{file}": true, "/view/{id}": true, "/compare": true, "/runs": true,
	"/health": true, "/metrics": true, "/login": true,
	manifestPath: true, macrosPath: true, sqlModulesPath: true,
}

// keyring decides who may use the server: requests with one of its keys, or with a cookie from a
// login with one. A nil keyring lets everybody in.
type keyring struct {
	keys   []hashedKey
	secret []byte // signs cookies; new in every process, so a restart asks again
	now    func() time.Time
}

// hashedKey is the hash of a key: comparing hashes reveals nothing about the keys' lengths.
type hashedKey struct {
	sum   [sha256.Size]byte
	scope Scope
}

// newKeyring holds admins, which open everything, and keys.
func newKeyring(admins []string, keys []Key) *keyring {
	for _, secret := range admins {
		keys = append(keys, Key{ScopeAdmin, secret})
	}
	if len(keys) == 0 {
		return nil
	}
	k := &keyring{secret: make([]byte, 32), now: time.Now}
	_, _ = rand.Read(k.secret) // never fails
	for _, key := range keys {
		k.keys = append(k.keys, hashedKey{sha256.Sum256([]byte(key.Secret)), key.Scope})
	}
	return k
}

// admit returns nil if r may use a route of the scope need, else the 401 or 403 that says what to
// do.
func (k *keyring) admit(r *http.Request, need Scope) error {
	if k == nil {
		return nil
	}
	has, err := k.scopeOf(r)
	if err == nil && !has.opens(need) {
		return forbidden("insufficient_scope",
			fmt.Sprintf("this needs a key with the scope %s, the one that was sent has %s", need, has))
	}
	return err
}

// scopeOf returns the scope of a request's key or cookie.
func (k *keyring) scopeOf(r *http.Request) (Scope, error) {
	if r.Header.Get("Authorization") != "" {
		return k.bearer(r)
	}
	if c, err := r.Cookie(cookieName(r)); err == nil && ownPage(r) {
		if scope, ok := k.signed(c.Value); ok {
			return scope, nil
		}
	}
	return "", unauthorized("missing_api_key", "this server asks for an API key: "+
		"send the header Authorization: Bearer KEY; kinetoscope's verbs send that of --api-key "+
		"or KINETOSCOPE_API_KEY, the page at / asks for it")
}

// bearer checks the key in the Authorization header.
func (k *keyring) bearer(r *http.Request) (Scope, error) {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum, found := sha256.Sum256([]byte(strings.TrimSpace(key))), -1
	for i := range k.keys { // all of them, so that the time reveals nothing
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], k.keys[i].sum[:]), i, found)
	}
	if found < 0 || !strings.EqualFold(scheme, "Bearer") {
		return "", unauthorized("invalid_api_key", "the API key is not one of this server's: send the header "+
			"Authorization: Bearer KEY with a key that kinetoscope serve was given by --api-key or KINETOSCOPE_API_KEY")
	}
	return k.keys[found].scope, nil
}

func unauthorized(code, msg string) error {
	return &openai.Error{Status: http.StatusUnauthorized, Type: openai.TypeInvalidRequest, Code: code, Message: msg}
}

// cookie returns the cookie of a login now with a key of that scope.
func (k *keyring) cookie(r *http.Request, scope Scope) *http.Cookie {
	says := strconv.FormatInt(k.now().Add(loginLife).Unix(), 10) + "." + string(scope)
	return &http.Cookie{
		Name: cookieName(r), Value: says + "." + k.sign(says), Path: "/", HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
		// A proxy that speaks TLS says so in this header; a client that lies about it only loses
		// its own cookie.
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}

func (k *keyring) sign(says string) string {
	m := hmac.New(sha256.New, k.secret)
	m.Write([]byte(says))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// signed returns the scope in a cookie's value, and whether this process signed it and it has not
// expired.
func (k *keyring) signed(value string) (Scope, bool) {
	i := strings.LastIndexByte(value, '.')
	if i < 0 || !hmac.Equal([]byte(value[i+1:]), []byte(k.sign(value[:i]))) {
		return "", false
	}
	until, scope, _ := strings.Cut(value[:i], ".")
	end, err := strconv.ParseInt(until, 10, 64)
	return Scope(scope), err == nil && k.now().Unix() < end
}

// cookieName contains the port: browsers send a host's cookies to all of its ports, and several
// servers may run on one host.
func cookieName(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		return "kinetoscope_" + port
	}
	return "kinetoscope"
}

// ownPage reports whether a browser sent r from a page of this server, or its user typed the
// address. SameSite does not tell ports apart, so without this check a page of another port of the
// same host could use the cookie. Browsers send Sec-Fetch-Site over secure connections, and Origin
// with every method that may change something.
func ownPage(r *http.Request) bool {
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin":
		return true
	case "none":
		return safe
	case "":
		if o := r.Header.Get("Origin"); o != "" {
			u, err := url.Parse(o)
			return err == nil && u.Host == r.Host
		}
		return safe
	}
	return false
}

// keyed lets only requests with the needed scope reach next.
func (s *Server) keyed(pattern string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.keys.admit(r, needs(pattern, r.Method)); err != nil {
			if e, ok := errors.AsType[*openai.Error](err); ok && e.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			s.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// login gives a browser that sends a key a cookie, because pictures and downloads carry cookies and
// no keys.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	if s.keys != nil {
		scope, err := s.keys.bearer(r)
		if err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			return err
		}
		http.SetCookie(w, s.keys.cookie(r, scope))
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}
