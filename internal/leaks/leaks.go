// Package leaks names the goroutines of libraries that outlive those who used them, for tests that allow no others.
package leaks

import "go.uber.org/goleak"

// NATS are the goroutines that the packages of NATS leave behind.
func NATS() []goleak.Option {
	return []goleak.Option{
		// nats.go 1.55: ObjectStore.Put sets the channel to nil that this goroutine
		// reads, sometimes before it has read it; then it waits for ever.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"),
		// Package-level goroutines of the server that live as long as the process.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.init.0.func1"),
	}
}
