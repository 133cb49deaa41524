//go:build !unix

package kinetod

import (
	"errors"
	"os"
)

var errNoKineto = errors.New("there are no Kineto processes on this system: its daemon protocol is Linux's")

func openOwned(string, int) (*os.File, error) { return nil, errNoKineto }

func checkOwn(string) error { return errNoKineto }
