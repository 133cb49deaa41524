//go:build !linux || !amd64

package chaos

import (
	"context"
	"errors"
)

func setClock(context.Context, target) (func() error, error) { return nil, clockNeeds() }

func clockNeeds() error {
	return errors.New("the clock of one process can be set on Linux on x86-64 only")
}
