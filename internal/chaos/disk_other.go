//go:build !linux

package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
)

// Inside does nothing on systems without mount namespaces.
func Inside() (code int, ok bool) { return 0, false }

func smallDisks(...string) error { return errors.New("small disks need Linux") }

func freeDisks(...string) {}

func readOnlyRuns(context.Context, *product, *rand.Rand) (func() error, error) {
	return nil, errors.New("small disks need Linux")
}
