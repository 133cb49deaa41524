//go:build unix

package usage

import (
	"os/exec"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	c, err := Run(exec.Command("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"))
	if err != nil || c.Wall <= 0 || c.CPU <= 0 || c.RSS < 100<<10 || c.RSS > 1<<30 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Run(exec.Command("sh", "-c", "exit 3")); err == nil {
		t.Error("a failure is no error")
	}
	if c, err := Run(exec.Command("/no/such/program")); err == nil || c.CPU != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestOwn(t *testing.T) {
	before := Own()
	x := 0
	for i := range 50_000_000 {
		x ^= i
	}
	if after := Own(); after.CPU <= before.CPU || after.RSS < before.RSS || x < 0 {
		t.Errorf("%+v, then %+v", before, after)
	}
}

func TestLower(t *testing.T) {
	a, b := Cost{Wall: 3, CPU: 1, RSS: 7}, Cost{Wall: 2, CPU: time.Second, RSS: 9}
	if got := a.Lower(b); got != (Cost{2, 1, 7}) {
		t.Errorf("%+v", got)
	}
}
