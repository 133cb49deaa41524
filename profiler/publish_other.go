//go:build !amd64 || race

package profiler

import "sync/atomic"

// publish stores v to *p with release semantics.
func publish(p *uint32, v uint32) { atomic.StoreUint32(p, v) }
