package drivertest_test

import (
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/drivertest"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// A driver is one file: what remains is the life that all share.
func TestToyDriver(t *testing.T) {
	id := protocol.RankID{Pipeline: "toy"}
	d := toyDriver{driver.Spool{Dir: t.TempDir(), Base: id.FileBase()}}
	var hears atomic.Pointer[driver.Rank]
	open := func() *driver.Rank {
		r := driver.NewRank(d, protocol.RankInfo{RankID: id}, driver.WithLogger(slog.New(slog.DiscardHandler)),
			driver.WithHubLossTimeout(drivertest.HubLoss))
		hears.Store(r)
		return r
	}
	s := &drivertest.Subject{Handler: open(), Can: d.Capabilities(), Check: wholeTrace,
		Beat: func(hub string) { hears.Load().HubSeen(hub) }, Left: func() []string { return filesUnder(d.Dir) }}
	s.Succeed = func(t *testing.T) {
		if err := hears.Load().Close(); err != nil {
			t.Fatal(err)
		}
		s.Handler = open()
	}
	drivertest.Run(t, s)
	if err := hears.Load().Close(); err != nil {
		t.Error(err)
	}
}

// docs/extending.md shows the driver as it is.
func TestExtendingShowsTheToyDriver(t *testing.T) {
	doc, err := os.ReadFile("../../docs/extending.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("toy_driver_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "```go\n"+string(code)+"```\n") {
		t.Error("docs/extending.md does not show driver/drivertest/toy_driver_test.go as it is")
	}
}
