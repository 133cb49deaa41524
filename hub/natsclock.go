package hub

import (
	"sync"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/nats-io/nats-server/v2/server/ats"
)

// The NATS server's packages keep two clocks running that no option turns off. They are most of what
// an idle pipeline would cost:
//
//   - package pse reads /proc of its process every second from the program's start on, in every
//     process that is linked with it, ranks too, for a CPU load that only the server's own monitoring
//     shows. It stops for good when it cannot read the file.
//   - package ats wakes up ten times a second to note the time, by which stores forget what they have
//     cached for ten seconds and expire what is older than a bucket keeps it.
//
// Their variables are not exported. Should a later version rename them, these stand for nothing, the
// clocks run as they did, and TestClocksOfNATSRest says so.

//go:linkname pseStatFile github.com/nats-io/nats-server/v2/server/pse.procStatFile
var pseStatFile string

//go:linkname atsTime github.com/nats-io/nats-server/v2/server/ats.utime
var atsTime atomic.Int64

//go:linkname atsDone github.com/nats-io/nats-server/v2/server/ats.done
var atsDone chan struct{}

func init() { pseStatFile = "" }

// ownAccessTime ends the clock of package ats for good: the registration, which is never taken back,
// lets no store start or end it again. Whoever runs a server calls setAccessTime from then on.
var ownAccessTime = sync.OnceFunc(func() {
	ats.Register()
	if atsDone != nil {
		atsDone <- struct{}{}
	}
})

// setAccessTime tells the stores of this process the time. It should be called every second or so.
func setAccessTime(now time.Time) { atsTime.Store(now.UnixNano()) }
