package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/web/api"
)

func TestMain(m *testing.M) {
	omni.WorkerMain()
	testscript.Main(m, map[string]func(){
		"kinetoscope": main, "attach": attachMain, "trainer": trainerMain, "engine": engineMain})
}

// TestScripts runs every verb as a user types it. Each script's ranks are processes,
// so few run at once.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":        await,
			"awaitfree":    awaitFree,
			"awaitranks":   awaitRanks,
			"awaitstate":   awaitState,
			"loadurl":      loadURL,
			"loadaddr":     loadAddr,
			"fetchview":    fetchView,
			"loadnats":     loadNATS,
			"withoutToken": withoutToken,
			"jsonpath":     jsonPath,
			"usage":        usageLine,
			"fetchlast":    fetchLast,
			"chat":         chat,
			"expand":       expand,
			"httpget":      httpGet,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("TMPDIR", e.WorkDir)
			e.Setenv("NO_COLOR", "1")
			e.Setenv("RANDOM_ID", strconv.Itoa(os.Getpid()))
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			e.Setenv("FREE_ADDR", ln.Addr().String())
			if err := ln.Close(); err != nil {
				return err
			}
			e.Setenv("LONG", strings.Repeat("x", 300))
			return expandLong(filepath.Join(e.WorkDir, "long.jsonl"))
		},
		Deadline: deadline(t),
	})
}

func deadline(t *testing.T) time.Time {
	d, _ := t.Deadline()
	return d
}

// await waits until a file exists.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: await file")
	}
	awaitThat(ts, args[0]+" appears", func() bool {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil
	})
}

// awaitThat ends the script unless ok says yes within a minute.
func awaitThat(ts *testscript.TestScript, what string, ok func() bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if wait.Until(ctx, 10*time.Millisecond, ok) != nil {
		ts.Fatalf("waited in vain: %s", what)
	}
}

// awaitFree waits until nobody uses a data directory and its ranks, which end with their
// server, have ended their recordings.
func awaitFree(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: awaitfree directory")
	}
	var open []string // what has no end yet, and why
	defer func() {
		if len(open) > 0 {
			ts.Logf("recordings without an end: %s", strings.Join(open, "; "))
		}
	}()
	awaitThat(ts, "nobody writes to "+args[0], func() bool {
		files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "spool", "*", "*"))
		ts.Check(err)
		open = nil
		for _, f := range files {
			r, err := os.Open(f)
			ts.Check(err)
			if c, err := format.Verify(r); err != nil || c.End == nil {
				open = append(open, fmt.Sprintf("%s (%v)", f, err))
			}
			ts.Check(r.Close())
		}
		return len(files) > 0 && len(open) == 0
	})
}

// awaitRanks waits until so many ranks are at the server.
func awaitRanks(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: awaitranks n")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	awaitThat(ts, args[0]+" ranks are ready", func() bool {
		resp, err := http.Get(ts.Getenv("KINETOSCOPE_URL") + "/health")
		ts.Check(err)
		var h struct {
			Stages []struct {
				Ready int `json:"ready_ranks"`
			} `json:"stages"`
		}
		ts.Check(errors.Join(json.NewDecoder(resp.Body).Decode(&h), resp.Body.Close()))
		n := 0
		for _, s := range h.Stages {
			n += s.Ready
		}
		return n == want
	})
}

// awaitState waits until the server's last session is in a state.
func awaitState(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: awaitstate state")
	}
	awaitThat(ts, "the last session is "+args[0], func() bool {
		resp, err := http.Get(ts.Getenv("KINETOSCOPE_URL") + "/v1/sessions?limit=1")
		ts.Check(err)
		var list struct {
			Data []struct{ State string }
		}
		ts.Check(errors.Join(json.NewDecoder(resp.Body).Decode(&list), resp.Body.Close()))
		return len(list.Data) > 0 && list.Data[0].State == args[0]
	})
}

// loadURL sets KINETOSCOPE_URL to what a ready file says.
func loadURL(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("KINETOSCOPE_URL", strings.TrimSpace(ts.ReadFile(args[0])))
}

// loadAddr puts what is in a file into a variable: loadaddr file NAME.
func loadAddr(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv(args[1], strings.TrimSpace(ts.ReadFile(args[0])))
}

// fetchView gets a path of a viewer with the key behind the # of its URL, and writes the
// answer to a file: fetchview ready /v1/runs/files/view out.json.
func fetchView(ts *testscript.TestScript, neg bool, args []string) {
	u, err := url.Parse(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	req, err := http.NewRequest(http.MethodGet, u.Scheme+"://"+u.Host+args[1], nil)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+strings.TrimPrefix(u.Fragment, "key="))
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	if (res.StatusCode == http.StatusOK) == neg {
		ts.Fatalf("%s: %s", args[1], res.Status)
	}
	f, err := os.Create(ts.MkAbs(args[2]))
	ts.Check(err)
	defer f.Close()
	_, err = io.Copy(f, res.Body)
	ts.Check(err)
}

// loadNATS sets NATS to what a NATS file says.
func loadNATS(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("NATS", strings.TrimSpace(ts.ReadFile(args[0])))
}

// withoutToken splits what a NATS file says: NATS is all of it, OPEN the URL without
// its token, TOKEN the token.
func withoutToken(ts *testscript.TestScript, neg bool, args []string) {
	loadNATS(ts, neg, args)
	u, err := url.Parse(ts.Getenv("NATS"))
	ts.Check(err)
	ts.Setenv("TOKEN", u.User.Username())
	u.User = nil
	ts.Setenv("OPEN", u.String())
}

// jsonPath checks a field of a JSON file: jsonpath stdout session.state complete.
func jsonPath(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: jsonpath file path want")
	}
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &v); err != nil {
		ts.Fatalf("%s is not JSON: %v", args[0], err)
	}
	for _, key := range strings.Split(args[1], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			if key == "len" {
				v = len(x)
				continue
			}
			i := int(key[0] - '0')
			if i >= len(x) {
				ts.Fatalf("%s: %s has %d elements", args[1], key, len(x))
			}
			v = x[i]
		default:
			ts.Fatalf("%s: nothing at %s", args[1], key)
		}
	}
	got, err := json.Marshal(v)
	if err != nil {
		ts.Fatalf("%v", err)
	}
	if (strings.Trim(string(got), `"`) == args[2]) == neg {
		ts.Fatalf("%s is %s, want %s (negated: %v)", args[1], got, args[2], neg)
	}
}

// expandLong makes a prompt of a script longer than any model takes.
func expandLong(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(string(data), "LONG", strings.Repeat("word ", 4000))), 0o644)
}

// usageLine runs a command that must fail: usage CODE 'stderr regexp' args...
func usageLine(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 || neg {
		ts.Fatalf("usage: usage code regexp args...")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec("kinetoscope", args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	stderr := ts.ReadFile("stderr")
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%v: exit code %d, want %s", args[2:], code, args[0])
	}
	if !regexp.MustCompile(args[1]).MatchString(stderr) {
		ts.Fatalf("%v: no match of %q on stderr", args[2:], args[1])
	}
}

// fetchLast downloads the first session of a list into got.
func fetchLast(ts *testscript.TestScript, neg bool, args []string) {
	var list api.SessionList
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &list); err != nil || len(list.Data) == 0 {
		ts.Fatalf("%s: %v, %d sessions", args[0], err, len(list.Data))
	}
	ts.Check(ts.Exec("kinetoscope", "sessions", list.Data[0].ID, "--download", ts.MkAbs("got")))
}

// chat sends one request to the server of KINETOSCOPE_URL; ! chat wants it refused as a bad one.
func chat(ts *testscript.TestScript, neg bool, args []string) {
	body := strings.NewReader(`{"messages":[{"role":"user","content":"` + strings.Join(args, " ") +
		`"}],"max_tokens":8}`)
	resp, err := http.Post(ts.Getenv("KINETOSCOPE_URL")+"/v1/chat/completions", "application/json", body)
	ts.Check(err)
	defer resp.Body.Close()
	want := http.StatusOK
	if neg {
		want = http.StatusBadRequest
	}
	if resp.StatusCode != want {
		data, _ := io.ReadAll(resp.Body)
		ts.Fatalf("chat: %s: %s", resp.Status, data)
	}
}

// expand replaces the variables in a file by what they hold.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// httpGet asks the server of KINETOSCOPE_URL and wants a status: httpget 200 POST /start_profile {}.
func httpGet(ts *testscript.TestScript, neg bool, args []string) {
	req, err := http.NewRequest(args[1], ts.Getenv("KINETOSCOPE_URL")+args[2],
		strings.NewReader(strings.Join(args[3:], " ")))
	ts.Check(err)
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if strconv.Itoa(resp.StatusCode) != args[0] {
		ts.Fatalf("%v: %s: %s", args[1:], resp.Status, text)
	}
}
