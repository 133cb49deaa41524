package collective

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// rankEnv makes this test binary a rank: "rank addr0,addr1,…".
const rankEnv = "COLLECTIVE_TEST_RANK"

func TestMain(m *testing.M) {
	if v := os.Getenv(rankEnv); v != "" {
		if err := runRank(v); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// runRank listens, says where, learns the addresses from stdin and reduces for ever.
func runRank(v string) error {
	var rank int
	if _, err := fmt.Sscan(v, &rank); err != nil {
		return err
	}
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g, err := Join(ctx, l, rank, strings.Split(strings.TrimSpace(line), ","), "processes")
	if err != nil {
		return err
	}
	defer func() { _ = g.Close() }()
	buf := make([]float32, 50_000)
	for {
		if err := g.AllReduce(ctx, nil, buf); err != nil {
			return err
		}
	}
}

// Four processes reduce; one is killed. The others name it and end.
func TestKilledProcess(t *testing.T) {
	const size, victim = 4, 2
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	addrs := []string{l.Addr()}
	cmds := make([]*exec.Cmd, size)
	stderr := make([]strings.Builder, size)
	var feeds []func(string) error
	for r := 1; r < size; r++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", rankEnv, r))
		cmd.Stderr = &stderr[r]
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill() }()
		addr, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, strings.TrimSpace(addr))
		cmds[r] = cmd
		feeds = append(feeds, func(s string) error { _, err := fmt.Fprintln(in, s); return err })
	}
	for _, feed := range feeds {
		if err := feed(strings.Join(addrs, ",")); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g, err := Join(ctx, l, 0, addrs, "processes")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	buf := make([]float32, 50_000)
	for i := 0; ; i++ {
		if i == 20 {
			if err := cmds[victim].Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		err := g.AllReduce(ctx, nil, buf)
		if err == nil {
			continue
		}
		if pe, ok := errors.AsType[*PeerError](err); !ok || pe.Rank != victim || i < 20 {
			t.Errorf("reduce %d: %v, want rank %d named", i, err, victim)
		}
		break
	}
	for r := 1; r < size; r++ {
		err := cmds[r].Wait()
		if want := fmt.Sprintf("rank %d", victim); err == nil || r != victim &&
			!strings.Contains(stderr[r].String(), want) {
			t.Errorf("rank %d ended with %v and said %q, want %q", r, err, stderr[r].String(), want)
		}
	}
}
