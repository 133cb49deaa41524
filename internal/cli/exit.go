package cli

import (
	"errors"
	"fmt"
)

// Exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1 // it was tried and did not work
	ExitUsage  = 2 // the input is wrong; nothing was started
	// ExitPartial: the run is there and lacks something, a rank's trace say.
	ExitPartial = 3
)

// UsageError is a mistake in the input: exit code 2.
type UsageError struct{ Err error }

// Error returns the message.
func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e UsageError) Unwrap() error { return e.Err }

// Usage is a UsageError with a message as fmt.Errorf makes it.
func Usage(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// PartialError says that the run is there and lacks something: exit code 3.
type PartialError struct{ Err error }

// Error returns the message.
func (e PartialError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e PartialError) Unwrap() error { return e.Err }

// SilentError ends the program with the exit code of a helper that has said itself why.
type SilentError struct {
	Program string
	Code    int
}

// Error is for logs: the program prints nothing.
func (e SilentError) Error() string { return fmt.Sprintf("%s ended with code %d", e.Program, e.Code) }

// ExitCode tells wrong input from what failed and from what lacks something. The code of another
// program, which an error may wrap (a rank's that was killed is -1), is that of a SilentError alone.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if _, ok := errors.AsType[UsageError](err); ok {
		return ExitUsage
	}
	if silent, ok := errors.AsType[SilentError](err); ok {
		return silent.Code
	}
	if _, ok := errors.AsType[PartialError](err); ok {
		return ExitPartial
	}
	return ExitFailed
}

// StartError tells a refused start, which is the user's to mend, from a failed one: errors
// with a method HTTPStatus below 500 are usage errors.
func StartError(err error) error {
	var s interface{ HTTPStatus() int }
	if errors.As(err, &s) && s.HTTPStatus() < 500 {
		return UsageError{err}
	}
	return err
}
