//go:build amd64 && !race

package profiler

// publish stores v to *p with release semantics. Every amd64 store has them, but Go's
// atomic store also waits for the store buffer (XCHG, 5 ns instead of 1). The compiler
// cannot move memory operations over a call into assembly.
//
//go:noescape
func publish(p *uint32, v uint32)
