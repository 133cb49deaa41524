package web

import (
	"net/http"
	"testing"

	"github.com/kinetoscope/kinetoscope/session"
)

// In front of engines a GET starts and stops, as SGLang's scripts send it; one that a
// browser may have sent does not, and it takes a key that may profile.
func TestProfileByGet(t *testing.T) {
	_, url := start(t, newOmni(), func(c *Config) {
		c.ProfileByGet = true
		c.Keys = []Key{{ScopeRead, "reads"}, {ScopeProfile, "profiles"}}
	})
	get := func(path string, headers ...string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	const auth = "Authorization"
	for _, tt := range []struct {
		want    int
		path    string
		headers []string
	}{
		{http.StatusUnauthorized, "/start_profile", nil},
		{http.StatusForbidden, "/start_profile", []string{auth, "Bearer reads"}},
		{http.StatusForbidden, "/start_profile", []string{auth, "Bearer profiles", "Sec-Fetch-Site", "cross-site"}},
		{http.StatusForbidden, "/start_profile", []string{auth, "Bearer profiles", "Referer", "http://evil/"}},
		{http.StatusOK, "/start_profile", []string{auth, "Bearer profiles"}},
		{http.StatusConflict, "/start_profile", []string{auth, "Bearer profiles"}},
		{http.StatusOK, "/stop_profile", []string{auth, "Bearer profiles"}},
	} {
		if got := get(tt.path, tt.headers...); got != tt.want {
			t.Errorf("GET %s %v: %d, want %d", tt.path, tt.headers, got, tt.want)
		}
	}
}

// What load generators of the engines post starts a session as they mean it.
func TestBodiesOfOtherServers(t *testing.T) {
	for _, body := range []string{
		// vllm bench serve --profile: the whole request.
		`{"model":"tiny","prompt":"x","temperature":0.0,"repetition_penalty":1.0,"max_tokens":1,"logprobs":null,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true}`,
		// sglang.bench_serving --profile.
		`{"output_dir":"/tmp/x","start_step":null,"num_steps":5,"activities":["CPU","GPU"],"profile_by_stage":false,"with_stack":null,"record_shapes":true,"profile_prefix":null,"profile_stages":null,"merge_profiles":false}`,
	} {
		_, url := start(t, newOmni())
		if status, _, got := call(t, "POST", url+"/start_profile", body); status != http.StatusOK ||
			parse[session.Status](t, got).ID == "" {
			t.Errorf("%s: %d %s", body, status, got)
		}
	}
	_, url := start(t, newOmni())
	if status, _, got := call(t, "POST", url+"/start_profile",
		`{"start_step":5,"num_steps":3}`); status != http.StatusBadRequest {
		t.Errorf("start_step: %d %s", status, got)
	}
}
