package kinetod

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/driver/kinetod/kinetodtest"
)

// dyno sends a frame as the command does, with white space around its JSON, and returns the
// answer, "" if the connection was closed without one.
func dyno(t *testing.T, addr, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text = "\n" + text + "\n"
	b := binary.NativeEndian.AppendUint32(nil, uint32(len(text)))
	if _, err := conn.Write(append(b, text...)); err != nil {
		t.Fatal(err)
	}
	reply, _ := io.ReadAll(conn) // a connection that is closed early is an answer too
	if len(reply) < 4 {
		return ""
	}
	if n := binary.NativeEndian.Uint32(reply); int(n) != len(reply)-4 {
		t.Fatalf("a frame of %d bytes says %d", len(reply)-4, n)
	}
	return string(reply[4:])
}

// answering is a daemon that answers dyno in the name of a user.
func answering(t *testing.T, dir string, uid int) (*Daemon, string) {
	t.Helper()
	d := listen(t, dir)
	y, err := listenDyno(t.Context(), d, 0, func(net.Conn) (int, error) { return uid, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := y.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, y.Addr()
}

const gputrace = `{"fn": "setKinetOnDemandRequest", "config": "ACTIVITIES_LOG_FILE=/tmp/none/t.json\nPROFILE_START_TIME=0\nACTIVITIES_DURATION_MSECS=500\nEVIL=1", "job_id": 0, "pids": [PIDS], "process_limit": 3}`

func TestDynoStatus(t *testing.T) {
	_, addr := answering(t, socketDir(t), os.Getuid())
	for text, want := range map[string]string{
		`{"fn":"getStatus"}`:  `{"status":1}`,
		`{"fn":"getVersion"}`: `{"version":"0.6.0"}`,
		`{"fn":"rm"}`:         "",
		`no JSON`:             "",
		`{"fn":"setKinetOnDemandRequest","pids":[0]}`:  "failed",
		strings.ReplaceAll(gputrace, "/tmp/none", "x"): "want an absolute path",
	} {
		if got := dyno(t, addr, strings.ReplaceAll(text, "PIDS", "0")); (got == "") != (want == "") ||
			!strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// A process that is named, by itself or by an ancestor, gets the config with its next
// request, once; a second caller finds it busy until then.
func TestDynoTriggers(t *testing.T) {
	dir := socketDir(t)
	d, addr := answering(t, dir, os.Getuid())
	kinetodtest.Start(t, dir, kinetodtest.Behaviour{PID: 9, Ancestors: []int{5, 1}})
	kinetodtest.Start(t, dir, kinetodtest.Behaviour{PID: 7, Busy: true})
	known(t, d, 9)
	known(t, d, 7)
	for pids, want := range map[string]dynoReply{
		"5":  {Matched: []int{9}, Triggered: []int{9}},
		"7":  {Matched: []int{7}, Triggered: []int{}, Busy: 1},
		"42": {Matched: []int{}, Triggered: []int{}},
	} {
		var got dynoReply
		if err := json.Unmarshal([]byte(dyno(t, addr, strings.ReplaceAll(gputrace, "PIDS", pids))), &got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Matched, want.Matched) || !slices.Equal(got.Triggered, want.Triggered) ||
			got.Busy != want.Busy || got.Events == nil {
			t.Errorf("pids %s: %+v, want %+v", pids, got, want)
		}
	}
}

// Whoever is neither root nor the process's user reaches nothing of it.
func TestDynoReachesItsUsersProcessesAlone(t *testing.T) {
	dir := socketDir(t)
	d, addr := answering(t, dir, os.Getuid()+1)
	kinetodtest.Start(t, dir, kinetodtest.Behaviour{PID: 9})
	known(t, d, 9)
	got := dyno(t, addr, strings.ReplaceAll(gputrace, "PIDS", "0"))
	if !strings.Contains(got, `"processesMatched":[]`) {
		t.Error(got)
	}
}

func TestDynoConfig(t *testing.T) {
	got, err := dynoConfig("ACTIVITIES_LOG_FILE=/tmp/a.json\n  ACTIVITIES_DURATION_MSECS = 500\nSCRIBE=1\nnonsense\n")
	if want := "ACTIVITIES_LOG_FILE=/tmp/a.json\nACTIVITIES_DURATION_MSECS=500\n"; err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := dynoConfig("PROFILE_START_TIME=0"); err == nil {
		t.Error("a config without a file is taken")
	}
}

// The kernel says whose a connection is.
func TestPeerUser(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	there, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if uid, err := peerUser(there); err != nil || uid != os.Getuid() {
		t.Errorf("user %d, %v", uid, err)
	}
	if _, err := userOf(bufio.NewScanner(strings.NewReader("")), "a", "b"); err == nil {
		t.Error("a connection that is not listed has a user")
	}
}

func FuzzDyno(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00{}"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readDyno(strings.NewReader(string(b)))
		if err == nil && (len(got) == 0 || len(got) > maxDynoRequest) {
			t.Errorf("%d bytes", len(got))
		}
	})
}
