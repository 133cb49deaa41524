package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
)

// FuzzAnswers looks at servers that answer whatever they like to whatever they are asked.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{`{"version":"0.32.0"}`, `{"paths":{"/start_profile":{"post":{"requestBody":` +
		`{"$ref":"#/components/schemas/R"}}}},"components":{"schemas":{"R":{"properties":{"profile_prefix":{}}}}}}`,
		`{"tp_size":-1,"pp_size":9223372036854775807,"dp_size":2,"version":"1"}`, `{"status":"ok"}`, `[{"supported":false}]`,
		`{"data":[{"id":"\u001b[31m"}]}`, "\x1b]0;owned\x07"} {
		f.Add(http.StatusOK, []byte(s))
	}
	f.Add(http.StatusConflict, []byte("\u202e"))
	var status int
	var body []byte
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	f.Cleanup(web.Close)
	f.Fuzz(func(t *testing.T, code int, data []byte) {
		if code < 200 || code > 599 || code == http.StatusNoContent || code == http.StatusNotModified {
			return
		}
		status, body = code, data
		for name, e := range engines {
			c, err := newClient(Target{Engine: name, URL: web.URL})
			if err != nil {
				t.Fatal(err)
			}
			facts, err := e.probe(t.Context(), c, Target{Engine: name, URL: web.URL})
			if facts.Ranks < 0 || facts.Ranks > maxRanks {
				t.Errorf("%s: %d ranks", name, facts.Ranks)
			}
			a := answer{status: code, body: data}
			for _, err := range []error{err, e.began(a), e.refused(a)} {
				if err != nil && strings.ContainsFunc(err.Error(), neutral.Command) {
					t.Errorf("%s says %q", name, err)
				}
			}
			c.http.CloseIdleConnections()
		}
	})
}
