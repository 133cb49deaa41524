package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const theKey, otherKey = "sk-one-0123456789", "sk-two-0123456789"

func withKeys(c *Config) { c.APIKeys = []string{theKey, otherKey} }

// TestEveryRouteAsksForTheKey holds the whole table to it, so that a new route is guarded
// unless it says otherwise.
func TestEveryRouteAsksForTheKey(t *testing.T) {
	s, url := start(t, newOmni(), withKeys)
	wild := strings.NewReplacer("{id...}", "ID", "{id}", "ID", "{name...}", "NAME", "{$}", "", "{file}", "main.js")
	open := 0
	for pattern, m := range s.table() {
		for method := range m {
			status, h, body := call(t, method, url+wild.Replace(pattern), "")
			if openRoutes[pattern] && pattern != "/login" {
				open++
				if status != 200 {
					t.Errorf("%s %s: %d without a key", method, pattern, status)
				}
				continue
			}
			if status != 401 || h.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s %s: %d without a key", method, pattern, status)
			}
			if e := parse[errorReply](t, body); e.Error.Type != "invalid_request_error" ||
				!strings.Contains(e.Error.Message, "Authorization: Bearer KEY") {
				t.Errorf("%s %s says %s", method, pattern, body)
			}
		}
	}
	if open != 9 {
		t.Errorf("%d routes are open", open)
	}
	if status, _, _ := call(t, "GET", url+"/v1/nothing", ""); status != 401 {
		t.Errorf("unknown path: %d", status)
	}
}

func TestKeys(t *testing.T) {
	_, url := start(t, newOmni(), withKeys)
	for header, want := range map[string]int{
		"Bearer " + theKey: 200, "Bearer " + otherKey: 200, "bearer  " + theKey + " ": 200,
		"Bearer " + theKey + "x": 401, "Bearer " + theKey[1:]: 401, "Bearer ": 401, "Bearer": 401, theKey: 401,
		"Basic " + theKey: 401,
	} {
		if status, _, body := call(t, "GET", url+"/v1/sessions", "", "Authorization", header); status != want {
			t.Errorf("%q: %d %s, want %d", header, status, body, want)
		}
	}
	status, _, body := call(t, "POST", url+"/start_profile", "", "Authorization", "Bearer wrong")
	var e struct{ Detail string }
	if err := json.Unmarshal([]byte(body), &e); err != nil || status != 401 ||
		!strings.Contains(e.Detail, "--api-key") {
		t.Errorf("start_profile with a wrong key: %d %s", status, body)
	}
	_, free := start(t, newOmni())
	for method, path := range map[string]string{"GET": "/v1/sessions", "POST": "/login"} {
		if status, h, _ := call(t, method, free+path, ""); status/100 != 2 || h.Get("Set-Cookie") != "" {
			t.Errorf("%s without keys: %d, cookie %q", path, status, h.Get("Set-Cookie"))
		}
	}
}

// login returns the Cookie header of a browser that has shown the key.
func login(t *testing.T, url string, header ...string) (cookie, attributes string) {
	t.Helper()
	status, h, body := call(t, "POST", url+"/login", "", append(header, "Authorization", "Bearer "+theKey)...)
	if status != 204 {
		t.Fatalf("login: %d %s", status, body)
	}
	cookie, attributes, _ = strings.Cut(h.Get("Set-Cookie"), "; ")
	return cookie, attributes
}

func TestLogin(t *testing.T) {
	s, url := start(t, newOmni(), withKeys)
	if status, h, _ := call(t, "POST", url+"/login", "", "Authorization", "Bearer wrong"); status != 401 ||
		h.Get("Set-Cookie") != "" {
		t.Errorf("login with a wrong key: %d, cookie %q", status, h.Get("Set-Cookie"))
	}
	cookie, attributes := login(t, url)
	if attributes != "Path=/; HttpOnly; SameSite=Strict" || strings.Contains(cookie, theKey) {
		t.Errorf("cookie %s; %s", cookie, attributes)
	}
	if _, a := login(t, url, "X-Forwarded-Proto", "https"); !strings.Contains(a, "Secure") {
		t.Errorf("behind a proxy with TLS the cookie is %q", a)
	}
	port := url[strings.LastIndex(url, ":")+1:]
	if !strings.HasPrefix(cookie, "kinetoscope_"+port+"=") {
		t.Errorf("cookie %s is not this port's own", cookie)
	}
	own, near := "http://127.0.0.1:"+port, "http://127.0.0.1:1"
	for _, c := range []struct {
		method, cookie string
		header         []string
		want           int
	}{
		{"GET", cookie, nil, 200},
		{"GET", cookie, []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"GET", cookie, []string{"Sec-Fetch-Site", "none"}, 200},
		{"GET", cookie, []string{"Sec-Fetch-Site", "same-site"}, 401},
		{"GET", cookie, []string{"Sec-Fetch-Site", "cross-site"}, 401},
		{"GET", cookie, []string{"Origin", near}, 401},
		{"GET", cookie + "x", nil, 401},
		{"GET", "kinetoscope_" + port + "=9999999999.AAAA", nil, 401},
		{"GET", "kinetoscope_1" + cookie[strings.Index(cookie, "="):], nil, 401},
		{"POST", cookie, []string{"Sec-Fetch-Site", "same-origin", "Origin", own}, 200},
		{"POST", cookie, []string{"Origin", own}, 200},
		{"POST", cookie, nil, 401}, // every browser would say more
		{"POST", cookie, []string{"Sec-Fetch-Site", "none"}, 401},
		{"POST", cookie, []string{"Sec-Fetch-Site", "same-site", "Origin", near}, 403},
		{"POST", cookie, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"POST", cookie, []string{"Origin", near}, 403},
		{"GET", cookie, []string{"Authorization", "Bearer wrong"}, 401},
	} {
		path := map[string]string{"GET": "/v1/sessions", "POST": "/stop_profile"}[c.method]
		if status, _, body := call(t, c.method, url+path, "", append(c.header, "Cookie",
			c.cookie)...); status != c.want {
			t.Errorf("%s with %s and %v: %d %s, want %d", c.method, c.cookie, c.header, status, body, c.want)
		}
	}
	s.keys.now = func() time.Time { return time.Now().Add(loginLife + time.Second) }
	if status, _, _ := call(t, "GET", url+"/v1/sessions", "", "Cookie", cookie); status != 401 {
		t.Errorf("an old cookie: %d", status)
	}
	_, again := start(t, newOmni(), withKeys)
	value := cookie[strings.Index(cookie, "="):]
	if status, _, _ := call(t, "GET", again+"/v1/sessions", "", "Cookie", "kinetoscope_"+
		again[strings.LastIndex(again, ":")+1:]+value); status != 401 {
		t.Errorf("another process' cookie: %d", status)
	}
}

func TestKeyIsNotLogged(t *testing.T) {
	var buf bytes.Buffer
	cfg := Config{API: newOmni(), Logger: slog.New(slog.NewJSONHandler(&buf,
		&slog.HandlerOptions{Level: slog.LevelDebug}))}
	withKeys(&cfg)
	s := NewServer(cfg)
	defer s.Close()
	var answers string
	for _, key := range []string{theKey, theKey + "x"} {
		for _, path := range []string{"/login", "/stop_profile", "/v1/chat/completions"} {
			r := httptest.NewRequest("POST", path,
				strings.NewReader(`{"messages":[{"role":"user","content":"panic"}]}`))
			r.Host = "localhost"
			r.Header.Set("Authorization", "Bearer "+key)
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			answers += fmt.Sprint(w.Code, w.Header(), w.Body)
		}
	}
	if strings.Contains(buf.String(), theKey) || strings.Contains(answers, theKey) ||
		!strings.Contains(buf.String(), "engine bug") {
		t.Errorf("the log or an answer has the key, or nothing was asked:\n%s\n%s", &buf, answers)
	}
	if !strings.Contains(answers, "invalid_api_key") {
		t.Errorf("no refusal in %s", answers)
	}
}

// Each key opens what its scope says, by its header and by the cookie of its login.
func TestScopes(t *testing.T) {
	keys, err := ParseKeys(strings.NewReader("# keys\n\nread sk-read\n profile  sk-profile\nadmin sk-admin\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, url := start(t, newOmni(), func(c *Config) { c.Keys = keys })
	const chat = `{"messages":[{"role":"user","content":"hi"}]}`
	for _, c := range []struct{ method, path, body, least string }{
		{"GET", "/v1/sessions", "", "read"}, {"GET", "/v1/models", "", "read"},
		{"POST", "/start_profile", "", "profile"}, {"POST", "/stop_profile", "", "profile"},
		{"POST", "/v1/chat/completions", chat, "admin"}, {"DELETE", "/v1/nothing", "", "admin"},
	} {
		for _, k := range keys {
			want := k.Scope.opens(Scope(c.least))
			status, h, body := call(t, c.method, url+c.path, c.body, "Authorization", "Bearer "+k.Secret)
			if (status != 403) != want || status == 401 || h.Get("WWW-Authenticate") != "" {
				t.Errorf("%s %s with a %s key: %d %s", c.method, c.path, k.Scope, status, body)
			}
			status, h, _ = call(t, "POST", url+"/login", "", "Authorization", "Bearer "+k.Secret)
			if status != 204 {
				t.Fatalf("login: %d", status)
			}
			cookie, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
			status, _, body = call(t, c.method, url+c.path, c.body, "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
			if (status != 403) != want || status == 401 {
				t.Errorf("%s %s with the cookie of a %s key: %d %s", c.method, c.path, k.Scope, status, body)
			}
			if forged := strings.Replace(cookie, "."+string(k.Scope)+".", ".admin.", 1); forged != cookie {
				if status, _, _ = call(t, c.method, url+c.path, c.body, "Cookie", forged, "Sec-Fetch-Site",
					"same-origin"); status != 401 {
					t.Errorf("a cookie whose scope was changed: %d", status)
				}
			}
		}
	}
}

func TestParseKeys(t *testing.T) {
	for text, want := range map[string]string{
		"sk-one-0123456789":                   "line 1 begins with no scope",
		"read a\nroot sk-secret-1":            "line 2 begins with no scope",
		"read":                                "line 1: a key is",
		"read sk secret":                      "line 1: a key is",
		"admin s\x01k":                        "line 1: a key is",
		strings.Repeat("read k\n", maxKeys+1): "more than 256 keys",
	} {
		_, err := ParseKeys(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") ||
			strings.Contains(err.Error(), "sk-one") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}
