//go:build !linux

package kinetod

import (
	"errors"
	"os"
)

var errNoKineto = errors.New("there are no Kineto processes on this system: its daemon protocol is Linux's")

const noFollow = 0

func owner(os.FileInfo) (uid int, links uint64, ok bool) { return 0, 0, false }

func (User) do(func() error) error { return errNoKineto }
