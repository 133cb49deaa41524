//go:build !linux

package chaos

import (
	"context"
	"errors"
)

// Inside does nothing on systems without mount namespaces.
func Inside() (code int, ok bool) { return 0, false }

var errLinux = errors.New("small disks need Linux")

func smallDisks(...string) error { return errLinux }

func freeDisks(...string) {}

func readOnlyRuns(context.Context, target) (func() error, error) { return nil, errLinux }
