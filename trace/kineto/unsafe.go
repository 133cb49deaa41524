package kineto

import "unsafe"

// unsafeString returns the string of b without copying; b must never change again.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
