package procs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fakeProc is a proc file system with pid 1, a launcher 20 and what a test adds.
func fakeProc(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, "stat", "cpu 1 2 3\nintr "+strings.Repeat("7 ", 200_000)+"\nctxt 4\nbtime 1700000000\nprocesses 5\n")
	fakeProcess(t, root, 1, 0, 1, "init\x00", "")
	fakeProcess(t, root, 20, 1, 500, "python\x00serve.py\x00",
		"RANK=7\x00KINETOSCOPE_STAGE=3\x00KINETO_ONDEMAND_TRACE_DIR=/t\x00")
	return root
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func statLine(pid, parent, ticks int, state, comm string) string {
	return fmt.Sprintf("%d (%s) %s %d 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 %d 123 45\n", pid, comm, state, parent,
		ticks)
}

func fakeProcess(t *testing.T, root string, pid, parent, ticks int, cmdline, environ string, files ...string) {
	t.Helper()
	dir := fmt.Sprint(pid)
	put(t, root, dir+"/stat", statLine(pid, parent, ticks, "S", "a) R 1 (b"))
	put(t, root, dir+"/status", "Name:\tx\nUid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\nGroups:\t10 20\n")
	put(t, root, dir+"/cmdline", cmdline)
	put(t, root, dir+"/environ", environ)
	fds := filepath.Join(root, dir, "fd")
	if err := os.Mkdir(fds, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		if err := os.Symlink(f, filepath.Join(fds, fmt.Sprint(i))); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
}

func TestReadTakesEveryFact(t *testing.T) {
	root := fakeProc(t)
	fakeProcess(t, root, 30, 20, 1250, "python\x00train.py\x00--x\x00",
		"A=b\x00RANK=1\x00RANK=2\x00WORLD_SIZE=4\x00junk\x00",
		"/dev/null", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia0", "/dev/nvidia11", "/dev/kfd",
		"/dev/dri/renderD128", "/dev/dri/card0", "/dev/davinci3", "/dev/davinci_manager", "/dev/accel/accel0",
		"socket:[1]")
	got, err := Read(root, 30)
	if err != nil {
		t.Fatal(err)
	}
	want := Process{PID: 30, UID: 1001, GID: 6, Groups: []int{10, 20}, Ancestors: []int{20, 1}, StartTicks: 1250,
		StartedAt: time.Unix(1700000012, 500_000_000), Args: []string{"python", "train.py", "--x"},
		Env: map[string]string{EnvRank: "1", EnvWorldSize: "4"}, Devices: 6}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestReadAsksTheParentOfAnOverwrittenEnvironment(t *testing.T) {
	root := fakeProc(t)
	fakeProcess(t, root, 30, 20, 600, "VLLM::EngineCore"+strings.Repeat("\x00", 30), strings.Repeat("\x00", 80))
	fakeProcess(t, root, 31, 30, 700, "VLLM::Worker_TP1   \x00\x00", strings.Repeat("\x00", 80))
	got, err := Read(root, 31)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{EnvStage: "3", EnvTraceDir: "/t"}; !reflect.DeepEqual(got.Env, want) {
		t.Errorf("environment %v, want %v", got.Env, want)
	}
	if !reflect.DeepEqual(got.Args, []string{"VLLM::Worker_TP1"}) {
		t.Errorf("title %q", got.Args)
	}
}

// A title may overwrite the beginning alone, and cut a variable: what is behind counts, and the rest is the parent's.
func TestReadCompletesAPartOfAnEnvironment(t *testing.T) {
	root := fakeProc(t)
	fakeProcess(t, root, 30, 20, 600, "VLLM::EngineCore\x00", strings.Repeat("\x00", 40)+
		"RANK=1\x00"+EnvStage+"=4\x00A=b\x00")
	got, err := Read(root, 30)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{EnvStage: "4", EnvTraceDir: "/t"}; !reflect.DeepEqual(got.Env, want) {
		t.Errorf("environment %v, want %v", got.Env, want)
	}
}

func TestReplicaOf(t *testing.T) {
	root := fakeProc(t)
	fakeProcess(t, root, 30, 20, 600, "VLLM::EngineCore_DP3\x00", "")
	fakeProcess(t, root, 31, 30, 700, "python\x00-c\x00x\x00", "")
	for pid, c := range map[int]struct {
		parent  int
		cmdline string
		want    int
		known   bool
	}{
		40: {31, "VLLM::Worker_TP1\x00", 3, true},
		41: {30, "VLLM::Worker_DP2_TP1\x00", 2, true},
		42: {20, "VLLM::Worker_TP1\x00", 0, false},
		43: {30, "sglang::scheduler_TP1\x00", 0, false},
		44: {30, "python\x00x.py\x00", 0, false},
	} {
		fakeProcess(t, root, pid, c.parent, 800, c.cmdline, "")
		if got, ok := ReplicaOf(root, pid); got != c.want || ok != c.known {
			t.Errorf("process %d: %d, %v", pid, got, ok)
		}
	}
	if _, ok := ReplicaOf(root, 99); ok {
		t.Error("a process that is gone has a replica")
	}
}

func TestReadBoundsWhatItReads(t *testing.T) {
	root := fakeProc(t)
	fakeProcess(t, root, 30, 30, 1, strings.Repeat("x", maxCmdline+5), strings.Repeat("y", maxEnviron-5)+
		"\x00RANK=12\x00")
	got, err := Read(root, 30)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Args) != 1 || len(got.Args[0]) != maxCmdline || len(got.Env) != 0 || len(got.Ancestors) != 1 {
		t.Errorf("%d arguments, environment %v, ancestors %v", len(got.Args), got.Env, got.Ancestors)
	}
	for i := range maxAncestors + 10 {
		put(t, root, fmt.Sprintf("%d/stat", 1000+i), statLine(1000+i, 1001+i, 1, "S", "x"))
	}
	fakeProcess(t, root, 999, 1000, 1, "x", "")
	if got, err := Read(root, 999); err != nil || len(got.Ancestors) != maxAncestors {
		t.Errorf("%d ancestors, %v", len(got.Ancestors), err)
	}
}

func TestReadSaysWhatIsHidden(t *testing.T) {
	if os.Getuid() <= 0 {
		t.Skip("nothing is hidden from this user by a file's mode")
	}
	root := fakeProc(t)
	fakeProcess(t, root, 30, 20, 1, "python\x00x.py\x00", "RANK=1\x00", "/dev/nvidia0")
	for _, f := range []string{"environ", "fd"} {
		if err := os.Chmod(filepath.Join(root, "30", f), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(root, "30/fd"), 0o700) })
	got, err := Read(root, 30)
	if err != nil || !got.Restricted || got.Env != nil || got.Devices != 0 || len(got.Args) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReadErrors(t *testing.T) {
	root := fakeProc(t)
	fakeProcess(t, root, 40, 1, 1, "", "")
	put(t, root, "40/stat", statLine(40, 1, 1, "Z", "dead"))
	fakeProcess(t, root, 41, 1, 1, "", "")
	put(t, root, "41/stat", "no parentheses")
	fakeProcess(t, root, 42, 1, 1, "", "")
	put(t, root, "42/status", "Name: x\n")
	noBoot := t.TempDir()
	put(t, noBoot, "stat", "cpu 1\nbtime soon\n")
	for _, c := range []struct {
		name, root string
		pid        int
		gone       bool
		want       string
	}{
		{"not there", root, 39, true, "process 39"},
		{"zombie", root, 40, true, "waits for its parent"},
		{"broken stat", root, 41, false, "41/stat: no ')'"},
		{"broken status", root, 42, false, "no lines Uid and Gid"},
		{"negative", root, -1, false, "positive"},
		{"no proc", filepath.Join(root, "none"), 30, false, "is no proc file system"},
		{"no boot time", noBoot, 30, false, `btime "soon"`},
	} {
		_, err := Read(c.root, c.pid)
		if err == nil || errors.Is(err, fs.ErrNotExist) != c.gone ||
			!strings.Contains(filepath.ToSlash(err.Error()), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestReadThisProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no proc file system of Linux")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	p, err := Read("/proc", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p.UID != os.Geteuid() || len(p.Ancestors) == 0 || p.Ancestors[0] != os.Getppid() || p.Restricted ||
		p.Devices != 0 {
		t.Errorf("%+v", p)
	}
	if !reflect.DeepEqual(p.Args, os.Args) {
		t.Errorf("arguments %q, want %q", p.Args, os.Args)
	}
	if age := time.Since(p.StartedAt); age < -2*time.Second || age > time.Hour {
		t.Errorf("started %v ago", age)
	}
}

func FuzzStat(f *testing.F) {
	f.Add(statLine(1, 2, 3, "S", "x"))
	f.Add(statLine(1, 2, 3, "R", ") Z 9 (("))
	f.Add("1 (x) S -1")
	f.Fuzz(func(t *testing.T, s string) {
		st, err := parseStat(s)
		if err == nil && (st.parent < 0 || time.Duration(st.ticks)*tick < 0) {
			t.Errorf("%+v", st)
		}
		// The program's name changes nothing.
		if again, err := parseStat(statLine(7, 8, 9, "D", s)); err != nil || again != (stat{'D', 8, 9}) {
			t.Errorf("with the name %q: %+v, %v", s, again, err)
		}
	})
}

// Below a server that asks are workers that will: those with torch loaded, not a copy of the server
// itself, nor what has no word of a daemon in its environment.
func TestComing(t *testing.T) {
	root := fakeProc(t)
	on, torch := EnvDaemon+"=1\x00", "7f00-7f01 r-xp 00000000 08:01 42 /lib/libtorch_cpu.so\n"
	add := func(pid, parent int, args, env, maps string) {
		fakeProcess(t, root, pid, parent, 600+pid, args, env)
		put(t, root, fmt.Sprint(pid)+"/maps", maps)
	}
	add(30, 20, "vllm\x00serve\x00", on, torch)
	add(31, 30, "VLLM::EngineCore", on, torch)
	add(32, 31, "VLLM::Worker", on, torch)
	add(33, 30, "vllm\x00serve\x00", on, torch) // a fork
	add(34, 30, "sh\x00", on, "")
	add(35, 30, "python\x00x.py\x00", "A=b\x00", torch)
	add(40, 20, "other\x00", on, torch)
	of, err := Read(root, 30)
	if err != nil {
		t.Fatal(err)
	}
	if got := Coming(root, of, map[int]bool{30: true, 31: true}); !reflect.DeepEqual(got, []int{32}) {
		t.Errorf("%v", got)
	}
	if got := Coming(root, of, map[int]bool{31: true, 32: true}); got != nil {
		t.Errorf("%v", got)
	}
}
