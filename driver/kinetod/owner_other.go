//go:build !linux

package kinetod

import (
	"errors"
	"net"
)

var errNoKineto = errors.New("there are no Kineto processes on this system: its daemon protocol is Linux's")

func (User) do(func() error) error { return errNoKineto }

func passCredentials(*net.UnixConn) error { return errNoKineto }

func credentials([]byte, int) (int, error) { return 0, errNoKineto }
