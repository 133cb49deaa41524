package omni

import (
	"fmt"
	"net/http"
)

// Code says whose fault an Error is.
type Code string

// The codes of an Error.
const (
	CodeBadRequest Code = "bad_request" // the request's: correct it
	CodeOverloaded Code = "overloaded"  // try again later
	CodeLost       Code = "lost"        // a rank that worked on it is gone
	CodeInternal   Code = "internal"
	CodeClosed     Code = "closed" // the pipeline is shutting down
)

// Error is why a request failed.
type Error struct {
	Code    Code
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
func (e *Error) HTTPStatus() int {
	switch e.Code {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeOverloaded, CodeClosed, CodeLost:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func badParam(param, format string, args ...any) error {
	return &Error{Code: CodeBadRequest, Param: param, Err: fmt.Errorf(format, args...)}
}
