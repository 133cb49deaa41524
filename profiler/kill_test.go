package profiler

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// killEnv makes the test binary the process that is to be killed; its value is the file.
const killEnv = "PROFILER_TEST_RECORD_UNTIL_KILLED"

// TestHelperRecordUntilKilled is the child of TestKilledProcess.
func TestHelperRecordUntilKilled(t *testing.T) {
	path := os.Getenv(killEnv)
	if path == "" {
		t.Skip("only as a child of TestKilledProcess")
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	r := New(Config{FlushEvery: 5 * time.Millisecond, GenerationBytes: 8 << 10})
	if err := r.Start(StartOptions{Out: f, Meta: map[string]string{"rank": "0"}}); err != nil {
		t.Fatal(err)
	}
	tr := r.Track("main")
	tr.Begin(testOp, CategoryAnnotation)
	for i := int64(0); ; i++ {
		tr.Begin(testKey, CategoryOp).Int(testKey, i).End()
		if i%10_000 == 0 {
			fmt.Println("recorded", i)
			time.Sleep(time.Millisecond)
		}
	}
}

// A process that is killed with SIGKILL leaves a recording that reads without error, has
// what it did in order from the beginning, and says that its end is missing.
func TestKilledProcess(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		path := filepath.Join(t.TempDir(), "killed.ksrec")
		cmd := exec.Command(exe, "-test.run", "^TestHelperRecordUntilKilled$")
		cmd.Env = append(os.Environ(), killEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for written := int64(0); written < int64(100+77*round)<<10 && lines.Scan(); {
			if !strings.HasPrefix(lines.Text(), "recorded") {
				t.Fatalf("child says %q", lines.Text())
			}
			if info, err := os.Stat(path); err == nil {
				written = info.Size()
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got := decode(t, bytes.NewReader(b))
		if got.err != nil || got.reader.Cut() == nil || got.reader.End() != nil {
			t.Fatalf("%v, cut %+v", got.err, got.reader.Cut())
		}
		l := got.lanes["main"].slices
		if last := l[len(l)-1]; last != sliceLine("test op", 1, 0, false, false, nil) {
			t.Errorf("the span around everything is %q", last)
		}
		finished := 0
		for i, s := range l {
			if s == sliceLine("test key", 0, 1, true, false, []string{fmt.Sprintf("test key=%d", i)}) {
				finished++
			}
		}
		if finished < 5000 || finished < len(l)-2 {
			t.Errorf("%d of %d slices are as recorded", finished, len(l))
		}
		t.Logf("%d bytes, %d generations, %d slices; %+v", len(b), got.generations, len(l), *got.reader.Cut())
	}
}

func TestLiveStats(t *testing.T) {
	r := New(Config{})
	if st := r.Stats(); st.Events != 0 {
		t.Errorf("idle: %+v", st)
	}
	tr := r.Track("track")
	buf := startInto(t, r)
	for range 100 {
		tr.Begin(testOp, CategoryOp).End()
	}
	if st := r.Stats(); st.Events != 100 || st.Drops != 0 {
		t.Errorf("recording: %+v", st)
	}
	tr.Instant(testOp, CategoryOp)
	st := stop(t, r)
	if st.Events != 101 || st.Bytes != uint64(buf.Len()) {
		t.Errorf("stopped: %+v", st)
	}
}
