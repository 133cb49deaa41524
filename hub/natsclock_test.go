package hub

import (
	"bytes"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats-server/v2/server/pse"

	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
)

func TestClocksOfNATSRest(t *testing.T) {
	open(t, Config{})
	var cpu float64
	var rss, vss int64
	if pse.ProcUsage(&cpu, &rss, &vss) == nil {
		t.Error("package pse still reads /proc every second")
	}
	waittest.Until(t, time.Minute, "package ats ends its own clock", func() bool {
		var all bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
			t.Fatal(err)
		}
		return !bytes.Contains(all.Bytes(), []byte("ats.Register"))
	})
	then := ats.AccessTime()
	waittest.Until(t, time.Minute, "the hub tells the stores the time", func() bool { return ats.AccessTime() > then })
}
