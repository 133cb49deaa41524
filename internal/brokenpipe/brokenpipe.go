// Package brokenpipe keeps a process alive whose output nobody reads any more.
package brokenpipe

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
)

// ExitCode is what a shell shows for a program that SIGPIPE ended. A program that ends because
// nobody reads its answer returns it.
const ExitCode = 128 + int(syscall.SIGPIPE)

// Fail has a write to a pipe without a reader fail with EPIPE. Without it, such a write to standard
// output or standard error ends the process at once: a recording would stay without its end, and a
// server's profiler would stay on, because a log line could not be written. Processes that this one
// starts are not affected, as they would be by an ignored signal.
func Fail() {
	// The runtime drops what does not fit, and nobody has to know of one.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}

// Unread reports whether err is a write to f for which there was no reader.
func Unread(err error, f *os.File) bool {
	where, ok := errors.AsType[*fs.PathError](err)
	return ok && where.Path == f.Name() && errors.Is(err, syscall.EPIPE)
}
