package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
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

// openRoutes need no key: the status page, which holds nothing until it has asked, what
// load balancers and Prometheus ask, and the way to log in. Every other route controls or
// reveals recordings, or makes the pipeline work.
var openRoutes = map[string]bool{"/{$}": true, "/ui/{file}": true, "/view/{id}": true, "/health": true, "/metrics": true, "/login": true}

// keyring knows who may use the server: who shows one of its keys, or a cookie that a
// login with one gave. A nil keyring lets everybody in.
type keyring struct {
	keys   [][sha256.Size]byte // hashes: comparing them tells nothing of the keys' lengths
	secret []byte              // signs cookies; new in every process, so a restart asks again
	now    func() time.Time
}

func newKeyring(keys []string) *keyring {
	if len(keys) == 0 {
		return nil
	}
	k := &keyring{secret: make([]byte, 32), now: time.Now}
	_, _ = rand.Read(k.secret) // never fails
	for _, key := range keys {
		k.keys = append(k.keys, sha256.Sum256([]byte(key)))
	}
	return k
}

// admit returns nil if r may pass, else the 401 that says what to do.
func (k *keyring) admit(r *http.Request) error {
	if k == nil {
		return nil
	}
	if r.Header.Get("Authorization") != "" {
		return k.bearer(r)
	}
	if c, err := r.Cookie(cookieName(r)); err == nil && k.signed(c.Value) && ownPage(r) {
		return nil
	}
	return unauthorized("missing_api_key", "this server asks for an API key: send the header Authorization: Bearer KEY; "+
		"kinetoscope's verbs send that of --api-key or KINETOSCOPE_API_KEY, the page at / asks for it")
}

// bearer checks the key in the Authorization header.
func (k *keyring) bearer(r *http.Request) error {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum, found := sha256.Sum256([]byte(strings.TrimSpace(key))), 0
	for i := range k.keys { // all of them, so that the time says nothing
		found |= subtle.ConstantTimeCompare(sum[:], k.keys[i][:])
	}
	if found == 0 || !strings.EqualFold(scheme, "Bearer") {
		return unauthorized("invalid_api_key", "the API key is not one of this server's: send the header "+
			"Authorization: Bearer KEY with a key that kinetoscope serve was given by --api-key or KINETOSCOPE_API_KEY")
	}
	return nil
}

func unauthorized(code, msg string) error {
	return &openai.Error{Status: http.StatusUnauthorized, Type: openai.TypeInvalidRequest, Code: code, Message: msg}
}

// cookie is what a login at now gives.
func (k *keyring) cookie(r *http.Request) *http.Cookie {
	until := strconv.FormatInt(k.now().Add(loginLife).Unix(), 10)
	return &http.Cookie{
		Name: cookieName(r), Value: until + "." + k.sign(until), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		// A proxy that speaks TLS says so; whoever lies about it loses its own cookie.
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}

func (k *keyring) sign(until string) string {
	m := hmac.New(sha256.New, k.secret)
	m.Write([]byte(until))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// signed reports whether value is a cookie of this process that still holds.
func (k *keyring) signed(value string) bool {
	until, sum, _ := strings.Cut(value, ".")
	if !hmac.Equal([]byte(sum), []byte(k.sign(until))) {
		return false
	}
	end, err := strconv.ParseInt(until, 10, 64)
	return err == nil && k.now().Unix() < end
}

// cookieName has the port in it: browsers send one host's cookies to all its ports, and
// several servers may run on one.
func cookieName(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		return "kinetoscope_" + port
	}
	return "kinetoscope"
}

// ownPage reports whether a browser sent r for a page of this server, or its user typed
// the address. Without this a page of another port of the same host, to which SameSite
// means nothing, could use the cookie. Browsers say Sec-Fetch-Site where the connection is
// safe, and Origin with every method that may change something.
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

// keyed guards a route.
func (s *Server) keyed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.keys.admit(r); err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// login gives a browser that shows a key a cookie, which pictures and downloads send too.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	if s.keys != nil {
		if err := s.keys.bearer(r); err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			return err
		}
		http.SetCookie(w, s.keys.cookie(r))
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}
