//go:build !unix

package model

import "testing"

func cpuTime(*testing.B) func() { return func() {} }
