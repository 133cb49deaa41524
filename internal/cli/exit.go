package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1 // the verb tried and failed
	ExitUsage  = 2 // the input is wrong; nothing was started
	// ExitPartial: the run exists and is incomplete, for instance without a rank's trace.
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

// PartialError says that the run exists and is incomplete: exit code 3.
type PartialError struct{ Err error }

// Error returns the message.
func (e PartialError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e PartialError) Unwrap() error { return e.Err }

// SilentError ends the program with the exit code of a helper that has already printed the reason.
type SilentError struct {
	Program string
	Code    int
}

// Error is for logs: the program prints nothing.
func (e SilentError) Error() string { return fmt.Sprintf("%s ended with code %d", e.Program, e.Code) }

// ExitCode returns the exit code for err: wrong input, failure, or an incomplete run. Only a
// SilentError passes on the code of another program; the code of any other program that err wraps
// is not used (that of a killed rank is -1).
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

// Interrupted says err in words: that ctx, which an interrupt ends, has ended is called an interrupt,
// with what it came into.
func Interrupted(ctx context.Context, err error) string {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return strings.ReplaceAll(err.Error(), context.Canceled.Error(), "interrupted")
	}
	return err.Error()
}

// StartError makes the refusal of a start a UsageError, because the user can correct it: errors
// with a method HTTPStatus below 500. Other errors stay as they are.
func StartError(err error) error {
	var s interface{ HTTPStatus() int }
	if errors.As(err, &s) && s.HTTPStatus() < 500 {
		return UsageError{err}
	}
	return err
}
