package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
)

// binaryEnv names a program to attack in place of the one that is built: each test here has
// failed with one that was built before what it tries was forbidden.
const binaryEnv = "KINETOSCOPE_ATTACKED"

// patience bounds every wait; it is never reached unless something hangs.
const patience = time.Minute

var program = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryEnv); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "attack-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "kinetoscope")
	out, err := exec.Command("go", "build", "-o", path,
		"github.com/kinetoscope/kinetoscope/cmd/kinetoscope").CombinedOutput()
	return path, errors.Join(err, ignoreEmpty(out))
})

func ignoreEmpty(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	return errors.New(string(out))
}

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil && os.Getenv(binaryEnv) == "" {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// server is a running kinetoscope serve with a key.
type server struct {
	url        string
	nats       *url.URL // where ranks join, with the token
	data, runs string
	log        *bytes.Buffer // read it after the server has ended
	cmd        *exec.Cmd
	ended      chan struct{}
}

const apiKey = "a-secret-of-this-test"

func binary(t *testing.T) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func serve(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready")
	s := &server{data: filepath.Join(dir, "data"), runs: filepath.Join(dir, "runs"), log: new(bytes.Buffer),
		ended: make(chan struct{})}
	s.cmd = exec.Command(binary(t), "serve", "--addr", "127.0.0.1:0", "--data-dir", s.data, "--runs-dir", s.runs,
		"--ready-file", ready)
	s.cmd.Env = append(os.Environ(), "KINETOSCOPE_API_KEY="+apiKey)
	said, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout = s.cmd.Stderr // one reader for both
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	joined := make(chan string, 1)
	go func() {
		defer close(s.ended)
		buf := make([]byte, 4<<10)
		for known := false; ; {
			n, err := said.Read(buf)
			s.log.Write(buf[:n])
			if m := joinLine.FindSubmatch(s.log.Bytes()); m != nil && !known {
				known = true
				joined <- string(m[1])
			}
			if err != nil {
				break
			}
		}
		_ = s.cmd.Wait() // how it ended is not asked
	}()
	t.Cleanup(s.stop)
	eventually(t, "the server serves", func() bool {
		b, err := os.ReadFile(ready)
		s.url = strings.TrimSpace(string(b))
		return err == nil && s.url != ""
	})
	if s.nats, err = url.Parse(<-joined); err != nil {
		t.Fatal(err)
	}
	// The first programs had no token, later ones said it in that line.
	if token, err := os.ReadFile(filepath.Join(s.data, hub.TokenFile)); err == nil && s.nats.User == nil {
		s.nats.User = url.User(strings.TrimSpace(string(token)))
	}
	return s
}

var joinLine = regexp.MustCompile(`ranks join at (\S+)[^\n]*\n`)

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.ended
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	waittest.Until(t, patience, what, ok)
}

// ask requests with the key, or with none.
func (s *server) ask(t *testing.T, method, path, body, key string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

// rank is a process of the pipeline.
type rank struct {
	Stage, Rank int
	NATS, Token string // how it joins
	PID         int    `json:"-"`
}

// ranks are the server's children: what another process of the same user, or one that has
// taken a rank over, can read of them.
func (s *server) ranks(t *testing.T) (out []rank) {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(list) == 0 {
		t.Skip("processes' environments are in /proc on Linux only")
	}
	for _, path := range list {
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if err != nil || len(fields) < 2 || fields[1] != strconv.Itoa(s.cmd.Process.Pid) {
			continue
		}
		r := rank{}
		if r.PID, err = strconv.Atoi(filepath.Base(filepath.Dir(path))); err != nil {
			t.Fatal(err)
		}
		env, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range strings.Split(string(env), "\x00") {
			if text, ok := strings.CutPrefix(v, "KINETOSCOPE_WORKER="); ok {
				if err := json.Unmarshal([]byte(text), &r); err != nil {
					t.Fatal(err)
				}
				out = append(out, r)
			}
		}
	}
	return out
}

// local is NATS as another user of the host finds it: the port, and nothing else.
func (s *server) local() string { return "nats://" + s.nats.Host }

// A local user with no token drives nothing: the port of NATS is open to every user of the
// host, whatever key HTTP asks for.
func TestNATSLetsNobodyInWithoutAToken(t *testing.T) {
	t.Parallel()
	s := serve(t)
	nc, err := nats.Connect(s.local(), nats.MaxReconnects(0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return
	}
	defer nc.Close()
	t.Error("a connection without a token is let in")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(ctx, "ks_ranks"); err == nil {
		t.Error("it has deleted the presences of all ranks")
	}
}

// as connects as a launched rank does, with what is in its environment.
func as(t *testing.T, r rank) *nats.Conn {
	t.Helper()
	name := fmt.Sprintf("rank.omni.s%d.r0.k%d", r.Stage, r.Rank)
	nc, err := nats.Connect(r.NATS, nats.Token(r.Token), nats.Name(name), nats.CustomInboxPrefix("_INBOX."+name),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatalf("a rank's own credential: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// answered reports whether a request is answered, well or badly. What the server refuses to
// pass on is answered by nobody.
func answered(nc *nats.Conn, subject, data string) bool {
	_, err := nc.Request(subject, []byte(data), refusal)
	return err == nil
}

// refusal is how long nobody must answer what is forbidden.
const refusal = 500 * time.Millisecond

// A rank whose process is taken over does nothing in the name of others: it neither drives
// them, nor reads sessions, nor removes what all need.
func TestARankDrivesNobodyElse(t *testing.T) {
	t.Parallel()
	s := serve(t)
	nc := as(t, s.rank(t, 2))
	code, body := s.ask(t, http.MethodPost, "/start_profile", "{}", apiKey)
	if code != http.StatusOK {
		t.Fatalf("start: %d %s", code, body)
	}
	var st struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &st); err != nil {
		t.Fatal(err)
	}
	var tries sync.WaitGroup
	for what, q := range map[string][2]string{
		"stop the profiler of another rank": {"ks.v1.rank.omni.s0.r0.k0.stop", `{"session":"` + st.ID + `"}`},
		"abort the session of another rank": {"ks.v1.rank.omni.s0.r0.k1.abort", `{"session":"` + st.ID + `"}`},
		"list all streams":                  {"$JS.API.STREAM.NAMES", ""},
		"read a session's record": {"$JS.API.DIRECT.GET.KV_ks_sessions",
			`{"last_by_subj":"$KV.ks_sessions.omni.` + st.ID + `"}`},
		"empty the presences":                {"$JS.API.STREAM.PURGE.KV_ks_ranks", ""},
		"delete the deployment":              {"$JS.API.STREAM.DELETE.KV_ks_deploy", ""},
		"take the presence of another rank":  {"$KV.ks_ranks.omni.s0.r0.k0", "{}"},
		"fill the hub's storage":             {"$JS.API.STREAM.CREATE.mine", `{"name":"mine","subjects":["mine"]}`},
		"announce a file for another's rank": {"$O.ks_artifacts_omni_s0_r0_k0.M.x", "{}"},
	} {
		tries.Go(func() {
			if answered(nc, q[0], q[1]) {
				t.Errorf("%s: it is answered", what)
			}
		})
	}
	tries.Wait()
	code, body = s.ask(t, http.MethodPost, "/stop_profile", "{}", apiKey)
	var end struct{ State, Error string }
	if err := json.Unmarshal(body, &end); code != http.StatusOK || err != nil || end.State != "complete" {
		t.Errorf("the session afterwards: %d %s %s, %v", code, end.State, end.Error, err)
	}
}

// rank is the first one of a stage.
func (s *server) rank(t *testing.T, stage int) rank {
	t.Helper()
	for _, r := range s.ranks(t) {
		if r.Stage == stage && r.Rank == 0 {
			return r
		}
	}
	t.Fatalf("stage %d has no rank", stage)
	return rank{}
}

// A rank says that its spool is a directory of its own, where a link to what the hub alone
// may read has the recording's name, and dies: the hub reads what it named, or does not.
func TestTheHubReadsNoFileThatARankNames(t *testing.T) {
	t.Parallel()
	s := serve(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("what the hub alone may read"), 0o600); err != nil {
		t.Fatal(err)
	}
	spool := t.TempDir()
	rogue := s.rank(t, 2)
	nc := as(t, rogue)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const key = "omni.s2.r0.k0"
	last := s.presence(t, js, key)
	if last == nil {
		t.Skip("a rank's own presence cannot be read by others, nor said in its name")
	}
	last["spool_dir"] = spool
	forged, err := json.Marshal(last)
	if err != nil {
		t.Fatal(err)
	}
	forging, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { // the rank itself says where its spool is, once a second
		for forging.Err() == nil {
			_ = nc.Publish("$KV.ks_ranks."+key, forged)
			_ = nc.Flush()
		}
	})
	code, body := s.ask(t, http.MethodPost, "/start_profile", `{"allow_partial":true}`, apiKey)
	stop()
	wg.Wait()
	var st struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &st); err != nil || code != http.StatusOK {
		t.Fatalf("start: %d %s %v", code, body, err)
	}
	if err := os.Mkdir(filepath.Join(spool, st.ID), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(secret, filepath.Join(spool, st.ID, "stage2_replica0_rank0.ksrec")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(rogue.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.ask(t, http.MethodPost, "/stop_profile", "{}", apiKey)
	err = filepath.WalkDir(s.runs, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("the hub alone")) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// presence is what a rank has announced, nil if that is nobody's to read.
func (s *server) presence(t *testing.T, js jetstream.JetStream, key string) (out map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	kv, err := js.KeyValue(ctx, "ks_ranks")
	if err != nil {
		return nil
	}
	e, err := kv.Get(ctx, key)
	if err != nil || json.Unmarshal(e.Value(), &out) != nil {
		return nil
	}
	return out
}

// Beyond the loopback nothing is served that asks for nothing.
func TestNoOpenPortWithoutAKey(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready")
	cmd := exec.CommandContext(ctx, binary(t), "serve", "--addr", "0.0.0.0:0", "--data-dir", filepath.Join(dir, "data"),
		"--runs-dir", filepath.Join(dir, "runs"), "--ready-file", ready)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = slices.DeleteFunc(os.Environ(),
		func(v string) bool { return strings.HasPrefix(v, "KINETOSCOPE_API_KEY=") })
	ended := make(chan struct{})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // how is asked below
		close(ended)
	}()
	eventually(t, "it serves, or ends", func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		if _, err := os.Stat(ready); err != nil {
			return false
		}
		t.Error("every host may start and stop profiling, and read recordings")
		cancel()
		<-ended
		return true
	})
}

// Other users of the host read neither runs nor data, nor spools.
func TestFilesAreTheirUsersAlone(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	s := serve(t)
	s.ask(t, http.MethodPost, "/start_profile", "{}", apiKey)
	if code, body := s.ask(t, http.MethodPost, "/stop_profile", "{}", apiKey); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	for _, root := range []string{s.data, s.runs} {
		st, err := os.Stat(root)
		if err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", root, st.Mode(), err)
		}
	}
	err := filepath.WalkDir(s.runs, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if st, err := d.Info(); err == nil && st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, st.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// No secret is in a command line, a log, a manifest or an answer.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.ask(t, http.MethodPost, "/start_profile", "{}", apiKey)
	s.ask(t, http.MethodPost, "/stop_profile", "{}", apiKey)
	secrets := []string{apiKey}
	if s.nats.User != nil {
		secrets = append(secrets, s.nats.User.Username())
	}
	look := func(where string, b []byte) {
		for _, secret := range secrets {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("a secret is in %s", where)
			}
		}
	}
	for _, r := range s.ranks(t) {
		if b, err := os.ReadFile("/proc/" + strconv.Itoa(r.PID) + "/cmdline"); err == nil {
			look("the command line of a rank", b)
		}
	}
	for _, path := range []string{"/health", "/v1/sessions", "/metrics"} {
		_, b := s.ask(t, http.MethodGet, path, "", apiKey)
		look(path, b)
	}
	s.stop()
	look("the log", s.log.Bytes())
	err := filepath.WalkDir(s.runs, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		look(path, b)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
