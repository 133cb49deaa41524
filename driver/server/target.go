package server

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Target is a server to drive.
type Target struct {
	Engine protocol.Engine
	URL    string // http://host:port, without a path
	Stage  string // name of the stage that it is; the engine's without it
	// Dir is where the server's files appear, as this process sees it. Of a vLLM of this
	// host it is found in its command line; an SGLang is told.
	Dir string
	// Ranks is how many ranks it has, 0 if only its files can tell.
	Ranks int
	// Keep leaves the server's own files where they are once they are home.
	Keep bool
	// Token is sent as a bearer token.
	Token string
}

// TokenEnv is the environment's token for targets that name no token_file: secrets do not
// belong into command lines.
const TokenEnv = "KINETOSCOPE_TARGET_TOKEN" //nolint:gosec // a name

// ParseTarget reads a target as it is written on a command line:
//
//	vllm://host:8000?stage=thinker&dir=/traces&ranks=2&keep=true&token_file=/run/secrets/key
//	sglang+https://host:30000
func ParseTarget(text string) (Target, error) {
	t := Target{Token: os.Getenv(TokenEnv)}
	u, err := url.Parse(text)
	if err != nil {
		return t, fmt.Errorf("target %q: %w", text, err)
	}
	engine, transport, _ := strings.Cut(u.Scheme, "+")
	if transport == "" {
		transport = "http"
	}
	t.Engine = protocol.Engine(engine)
	switch {
	case engines[t.Engine] == nil:
		return t, fmt.Errorf("target %q: want vllm://HOST:PORT or sglang://HOST:PORT, with +https for TLS", text)
	case transport != "http" && transport != "https":
		return t, fmt.Errorf("target %q: %s is no way to a server: http or https", text, transport)
	case u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil:
		return t, fmt.Errorf("target %q: want a host and a port and nothing after them but ?options", text)
	}
	t.URL, t.Stage = transport+"://"+u.Host, engine
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return t, fmt.Errorf("target %q: %w", text, err)
	}
	for key, values := range q {
		if err := t.set(key, values[0]); err != nil {
			return t, fmt.Errorf("target %q: %w", text, err)
		}
	}
	return t, nil
}

func (t *Target) set(key, value string) (err error) {
	switch key {
	case "stage":
		t.Stage = value
	case "dir":
		if !filepath.IsAbs(value) {
			return fmt.Errorf("dir %q: want an absolute path", value)
		}
		t.Dir = filepath.Clean(value)
	case "ranks":
		if t.Ranks, err = strconv.Atoi(value); err != nil || t.Ranks < 1 || t.Ranks > maxRanks {
			return fmt.Errorf("ranks %q: want 1 to %d", value, maxRanks)
		}
	case "keep":
		if t.Keep, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("keep %q: want true or false", value)
		}
	case "token_file":
		b, err := os.ReadFile(value)
		if err != nil {
			return fmt.Errorf("token_file: %w", err)
		}
		t.Token = strings.TrimSpace(string(b))
	default:
		return fmt.Errorf("there is no option %q: stage, dir, ranks, keep and token_file are", key)
	}
	return nil
}

// String is the target for people, without its options.
func (t Target) String() string {
	return string(t.Engine) + "://" + t.URL[strings.Index(t.URL, "://")+3:]
}
