package server

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/driver/server/discover"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Target is a server to drive.
type Target struct {
	Engine protocol.Engine
	URL    string // http://host:port, without a path
	Stage  string // name of the stage; "": the engine's name
	// Stages are the names of all stages of a server that has several, in the server's order. Part
	// is the index of this one: Seats makes a target of each.
	Stages []string
	Part   int
	// Worker is the engine behind a Dynamo worker: vllm, the default, or sglang.
	Worker protocol.Engine
	// Dir is where the server's files appear, as this process sees it. For a vLLM on this host it
	// is found in the server's command line; an SGLang is told where to write.
	Dir string
	// Ranks is how many ranks the server has, 0 if only its files can tell.
	Ranks int
	// Discover, unless its Kind is "", is where servers like this one are found: each is a replica of the
	// stage. A part {name} of Dir is the found one's name. Find makes a target of each.
	Discover discover.Source
	// Keep leaves the server's files where they are after they were copied into the run.
	Keep bool
	// Nsys: the server runs under nsys profile and its profiler is CUDA's, so that a report of Nsight
	// Systems is waited for. Of a vLLM on this host its command line tells.
	Nsys bool
	// NoMetrics has the server's /metrics not read during a session.
	NoMetrics bool
	// Token is sent with each request: as a bearer token, or in the header that Header names.
	Token  string
	Header string
	// CA, Cert and Key are PEM files: the authority that signed the server's certificate, if it is
	// not one of the system's, and the certificate and key that this client shows if the server
	// asks.
	CA, Cert, Key string
	// ServerName is the name that the server's certificate has, "" for that in URL: servers that are found
	// by a DNS name show a certificate of the name.
	ServerName string
	// Agent, if set, is the host whose agent drives the server, because only that host sees the
	// server's files. OwnNode stands for the agent on the node of each server that is found.
	Agent string
}

// OwnNode is the Agent of targets of which each agent drives the servers of its node.
const OwnNode = "{node}"

// NodeEnv is an environment variable with the name of the node that a process runs on, where that is not
// the host's name.
const NodeEnv = "KINETOSCOPE_NODE"

// TokenEnv is an environment variable with the token of targets that name no token_file. Secrets do
// not belong into command lines.
const TokenEnv = "KINETOSCOPE_TARGET_TOKEN" //nolint:gosec // a name

// maxStages bounds the stages of one server.
const maxStages = 64

// maxTokenFile bounds a file with a token: a signed one has a few KiB.
const maxTokenFile = 64 << 10

// ParseTarget reads a target as it is written on a command line:
//
//	vllm://host:8000?stage=thinker&dir=/traces&ranks=2&keep=true&token_file=/run/secrets/key
//	sglang+https://host:30000
//	vllm+dns://NAME:8000             servers at all addresses of a name
//	vllm+k8s://NAMESPACE:8000?labels=app=vllm
func ParseTarget(text string) (Target, error) {
	t := Target{Token: os.Getenv(TokenEnv)}
	if err := t.SetURL(text); err != nil {
		return t, err
	}
	_, query, _ := strings.Cut(text, "?")
	q, err := url.ParseQuery(query)
	if err != nil {
		return t, fmt.Errorf("target %q: %w", text, err)
	}
	for _, key := range slices.Sorted(maps.Keys(q)) {
		if err := t.Set(key, q.Get(key)); err != nil {
			return t, fmt.Errorf("target %q: %w", text, err)
		}
	}
	if err := t.Check(); err != nil {
		return t, fmt.Errorf("target %q: %w", text, err)
	}
	return t, nil
}

// Check says what a target's parts lack together.
func (t *Target) Check() error {
	switch {
	case t.Discover.Kind == "" && t.Discover.Labels != "":
		return errors.New("labels go with +k8s, which finds pods by them")
	case t.Agent == OwnNode && t.Discover.Kind != discover.Pods:
		return errors.New("agent: {node} goes with +k8s, which tells the node of each server: name the agent")
	case t.Discover.Kind == "":
		return nil
	}
	return t.Discover.Check()
}

// SetURL reads ENGINE://HOST:PORT, with +https for TLS. It ignores what follows a ?.
func (t *Target) SetURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("target %q: %w", text, err)
	}
	engine, ways, _ := strings.Cut(u.Scheme, "+")
	transport := "http"
	t.Engine, t.Discover.Kind = protocol.Engine(engine), ""
	for way := range strings.SplitSeq(ways, "+") {
		switch way {
		case "":
		case "http", "https":
			transport = way
		case string(discover.DNS), string(discover.Pods):
			t.Discover.Kind = discover.Kind(way)
		default:
			return fmt.Errorf("target %q: %s is no way to a server: http or https, and dns or k8s to find several", text,
				way)
		}
	}
	switch {
	case engines[t.Engine] == nil:
		return fmt.Errorf("target %q: want %s, with +https for TLS", text, Schemes())
	case u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil:
		return fmt.Errorf("target %q: want a host and a port and nothing after them but ?options", text)
	}
	t.URL = transport + "://" + u.Host
	if t.Discover.Kind != "" {
		t.Discover.Name, t.Discover.Port = u.Hostname(), u.Port()
	}
	if t.Stage == "" {
		t.Stage = engine
	}
	return nil
}

// Schemes lists the schemes with which a target begins, for people.
func Schemes() string {
	out := []string{"vllm://HOST:PORT or another engine in its place"}
	for _, e := range slices.Sorted(maps.Keys(engines)) {
		if e != protocol.EngineVLLM {
			out = append(out, string(e))
		}
	}
	return out[0] + " (" + strings.Join(out[1:], ", ") + ")"
}

// Options are the names that Set takes.
var Options = []string{"stage", "stages", "worker", "dir", "ranks", "keep", "metrics", "token_file", "auth_header",
	"ca", "cert", "key", "agent", "labels",
	"nsys"}

// Set reads one option.
func (t *Target) Set(key, value string) (err error) {
	switch key {
	case "stage":
		if !protocol.ValidStageName(value) {
			return fmt.Errorf("stage %q: %s", value, protocol.StageNameRule)
		}
		t.Stage = value
	case "stages":
		t.Stages = nil
		for name := range strings.SplitSeq(value, ",") {
			if !protocol.ValidStageName(name) || slices.Contains(t.Stages, name) {
				return fmt.Errorf("stages %q: want different names, separated by commas", value)
			}
			t.Stages = append(t.Stages, name)
		}
		if len(t.Stages) > maxStages {
			return fmt.Errorf("stages: %d are more than the %d that are allowed", len(t.Stages), maxStages)
		}
	case "worker":
		t.Worker = protocol.Engine(value)
		if !slices.Contains(dynamoWorkers, t.Worker) {
			return fmt.Errorf("worker %q: want vllm or sglang", value)
		}
	case "dir":
		return setPath(&t.Dir, key, value)
	case "ranks":
		if t.Ranks, err = strconv.Atoi(value); err != nil || t.Ranks < 1 || t.Ranks > maxRanks {
			return fmt.Errorf("ranks %q: want 1 to %d", value, maxRanks)
		}
	case "keep":
		if t.Keep, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("keep %q: want true or false", value)
		}
	case "nsys":
		if t.Nsys, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("nsys %q: want true or false", value)
		}
	case "metrics":
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("metrics %q: want true or false", value)
		}
		t.NoMetrics = !on
	case "token_file":
		t.Token, err = readToken(value)
		return err
	case "auth_header":
		if !validHeader.MatchString(value) {
			return fmt.Errorf("auth_header %q: want the name of a header", value)
		}
		t.Header = value
	case "ca":
		return setPath(&t.CA, key, value)
	case "cert":
		return setPath(&t.Cert, key, value)
	case "key":
		return setPath(&t.Key, key, value)
	case "agent":
		t.Agent = value
	case "labels":
		t.Discover.Labels = value
	default:
		return fmt.Errorf("there is no option %q: there are %s", key, strings.Join(Options, ", "))
	}
	return nil
}

var validHeader = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

func setPath(to *string, key, value string) error {
	if !filepath.IsAbs(value) {
		return fmt.Errorf("%s %q: want an absolute path", key, value)
	}
	*to = filepath.Clean(value)
	return nil
}

func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || len(b) > maxTokenFile ||
		strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", fmt.Errorf("token_file %s: want one line of printable ASCII, %d bytes at most", path, maxTokenFile)
	}
	return token, nil
}

// String is the target for people, without its options.
func (t Target) String() string {
	way := string(t.Engine)
	if t.Discover.Kind != "" {
		way += "+" + string(t.Discover.Kind)
	}
	return way + "://" + t.URL[strings.Index(t.URL, "://")+3:]
}
