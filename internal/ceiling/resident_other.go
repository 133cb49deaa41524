//go:build !linux

package ceiling

// programSize is what the program's own code and tables take, which is not counted here.
const programSize = 32 << 20

// resident is what the runtime holds and about what the program itself takes, in bytes.
func resident() int64 { return mapped() + programSize }
