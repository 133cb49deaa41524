package openai

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Values of Error.Type.
const (
	TypeInvalidRequest = "invalid_request_error"
	TypeServer         = "server_error"
	TypeRateLimit      = "rate_limit_error"
	TypeConflict       = "conflict_error"
	TypeForbidden      = "permission_error"
)

// Error is an error that a client sees, in the members of OpenAI's error
// object. Param is the field at fault, "messages[0].role", or empty.
type Error struct {
	Status  int // HTTP
	Type    string
	Code    string
	Param   string
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// HTTPStatus returns the status that answers the error.
func (e *Error) HTTPStatus() int { return e.Status }

// Body is the JSON object that carries an Error. All four members are always
// there, null where they say nothing: client libraries require them.
type Body struct {
	Error BodyError `json:"error"`
}

// BodyError is the inner object of Body.
type BodyError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// Body returns the response body for e.
func (e *Error) Body() Body {
	return Body{BodyError{Message: e.Message, Type: e.Type, Param: nonEmpty(e.Param), Code: nonEmpty(e.Code)}}
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Invalid returns a 400 for the field param.
func Invalid(param, format string, args ...any) *Error {
	return &Error{
		Status: http.StatusBadRequest, Type: TypeInvalidRequest, Code: "invalid_value",
		Param: param, Message: fmt.Sprintf(format, args...),
	}
}

func unsupported(param, format string, args ...any) *Error {
	e := Invalid(param, format, args...)
	e.Code = "unsupported_parameter"
	return e
}

func missing(param string) *Error {
	e := Invalid(param, "missing required field %q", param)
	e.Code = "missing_required_parameter"
	return e
}

// Decode reads one JSON object into v. Unknown members are ignored. Malformed
// JSON gives a 400 that names line, column and offset; a value of a wrong type
// a 422 that names the field.
func Decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return Explain(data, err)
	}
	return nil
}

// DecodeStrict is Decode of a body of our own API: a field that v does not have is an error too,
// for a misspelled one would be taken for a change that was made.
func DecodeStrict(data []byte, v any) error {
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(true)); err != nil {
		return Explain(data, err)
	}
	return nil
}

// Within says that err, which Explain made, lies in the member param of a body.
func Within(param string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Param = strings.TrimSuffix(param+"."+e.Param, ".")
		e.Message = param + ": " + e.Message
	}
	return err
}

// Explain words an error of decoding data as a client is told of it, as Decode does. An
// error that does not come of the decoder is returned as it is.
func Explain(data []byte, err error) error {
	if syn, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		line, col := position(data, syn.ByteOffset)
		return &Error{
			Status: http.StatusBadRequest, Type: TypeInvalidRequest, Code: "invalid_json",
			Param: field(syn.JSONPointer),
			Message: fmt.Sprintf("body is not valid JSON at line %d, column %d (offset %d): %s",
				line, col, syn.ByteOffset, cause(syn.Err, "unexpected end of input")),
		}
	}
	if sem, ok := errors.AsType[*json.SemanticError](err); ok {
		return typeError(data, sem)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	return &Error{
		Status: http.StatusBadRequest, Type: TypeInvalidRequest, Code: "invalid_json",
		Message: "body is not valid JSON: unexpected end of input",
	}
}

func typeError(data []byte, sem *json.SemanticError) *Error {
	e := &Error{
		Status: http.StatusUnprocessableEntity, Type: TypeInvalidRequest, Code: "invalid_type",
		Param: field(sem.JSONPointer),
	}
	line, col := position(data, sem.ByteOffset)
	where := fmt.Sprintf("line %d, column %d (offset %d)", line, col, sem.ByteOffset)
	name := "body"
	if e.Param != "" {
		name = fmt.Sprintf("field %q", e.Param)
	}
	if errors.Is(sem.Err, json.ErrUnknownName) {
		e.Status, e.Code = http.StatusBadRequest, "unknown_field"
		e.Message = fmt.Sprintf("unknown field %q at %s", e.Param, where)
		return e
	}
	got, want := kindName(sem.JSONKind), "another type"
	if sem.GoType != nil {
		want = goTypeName(sem.GoType.String())
	}
	if sem.JSONValue != nil {
		got += " " + string(sem.JSONValue[:min(len(sem.JSONValue), 40)])
	}
	e.Message = fmt.Sprintf("%s at %s: want %s, got %s", name, where, want, got)
	return e
}

func cause(err error, otherwise string) string {
	if err == nil {
		return otherwise
	}
	return err.Error()
}

// position returns the 1-based line and column of offset, both in bytes.
func position(data []byte, offset int64) (line, col int) {
	head := data[:min(max(offset, 0), int64(len(data)))]
	return 1 + bytes.Count(head, []byte{'\n'}), len(head) - bytes.LastIndexByte(head, '\n')
}

// field writes a JSON pointer as clients write fields: /a/0/b is a[0].b.
func field(p jsontext.Pointer) string {
	var b strings.Builder
	for tok := range p.Tokens() {
		switch {
		case tok != "" && strings.Trim(tok, "0123456789") == "":
			b.WriteString("[" + tok + "]")
		case b.Len() > 0:
			b.WriteString("." + tok)
		default:
			b.WriteString(tok)
		}
	}
	return b.String()
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case '0':
		return "the number"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "something else"
}

func goTypeName(t string) string {
	t = strings.TrimPrefix(t, "*")
	switch {
	case strings.HasPrefix(t, "[]"):
		return "an array"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
		return "an integer"
	case strings.HasPrefix(t, "float"):
		return "a number"
	case t == "string":
		return "a string"
	case t == "bool":
		return "a boolean"
	}
	return "an object"
}
