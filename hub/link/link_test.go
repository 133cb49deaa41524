package link

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"nats://h:4222":                    "nats://h:4222",
		"nats://secret@h:4222":             "nats://h:4222",
		"tls://user:secret@h:1,secret@b:2": "tls://h:1,nats://b:2",
		"h:4222":                           "nats://h:4222",
		"nats://secret@h:bad":              "(not a URL)",
		"nats://sec ret@h:1":               "(not a URL)",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whatever a user mistypes around it, the token does not come back in an error.
func TestErrorsKeepTheToken(t *testing.T) {
	const token = "QSECRETQ"
	rapid.Check(t, func(t *rapid.T) {
		around := rapid.StringMatching(`[ -~]{0,12}`)
		scheme := rapid.SampledFrom([]string{"nats://", "tls://", "http://", "nats:/", "", "://"}).Draw(t, "scheme")
		url := scheme + token + "@" + around.Draw(t, "host")
		err := Config{URL: url}.check()
		if err != nil && strings.Contains(err.Error(), token) {
			t.Fatalf("%q: %v", url, err)
		}
		// With the token before the last @ of an address, nothing of it is left.
		if got := Redact(scheme + token + "@127.0.0.1:1"); strings.Contains(got, token) {
			t.Fatalf("%q", got)
		}
	})
}

func TestBadAddresses(t *testing.T) {
	for url, want := range map[string]string{
		"":                     "address 1",
		"nats://":              "address 1",
		"http://h:1":           `scheme "http"`,
		"nats://h:1,nats://":   "address 2",
		"nats://h:99999999":    "NATS at nats://h:99999999",
		"nats://127.0.0.1:1":   "NATS at nats://127.0.0.1:1",
		"nats://x@127.0.0.1:2": "NATS at nats://127.0.0.1:2",
	} {
		nc, err := Config{URL: url}.Connect()
		if err == nil {
			nc.Close()
			t.Errorf("%q: connected", url)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", url, err, want)
		}
	}
}

func TestValidateToken(t *testing.T) {
	for _, s := range []string{"", "abc-._~09Z", strings.Repeat("a", MaxToken)} {
		if err := ValidateToken(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"a b", "a@b", "$2a$10$x", "é", strings.Repeat("a", MaxToken+1)} {
		if err := ValidateToken(s); err == nil || s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
