//go:build !linux

package kinetod

import "errors"

var errNoKineto = errors.New("there are no Kineto processes on this system: its daemon protocol is Linux's")

func (User) do(func() error) error { return errNoKineto }
