package omni

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Error is why a request failed.
type Error struct {
	Code    protocol.Code
	Request string // its id, if it had one yet
	Param   string // the field at fault, if one is
	Err     error
}

// Error names the request and the cause.
func (e *Error) Error() string {
	if e.Request == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("request %s: %v", e.Request, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// HTTPStatus is what a server answers.
func (e *Error) HTTPStatus() int { return e.Code.HTTPStatus() }

func badParam(param, format string, args ...any) error {
	return &Error{Code: protocol.CodeBadRequest, Param: param, Err: fmt.Errorf(format, args...)}
}
