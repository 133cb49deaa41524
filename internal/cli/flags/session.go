package flags

import (
	"errors"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/units"
)

// Session says what a session records.
type Session struct {
	Prefix       string         `help:"Part of the run's name." placeholder:"TEXT"`
	Stages       []int          `help:"Stages to capture; all without it." placeholder:"0,2"`
	MaxBytes     units.ByteSize `help:"Every rank stops by itself when its recording has so many bytes." placeholder:"64MiB"`
	AllowPartial bool           `help:"Record without the ranks that cannot."`
}

// Request returns the session that the flags ask for. The verb adds its own fields before it
// validates.
func (f *Session) Request() protocol.StartRequest {
	return protocol.StartRequest{Prefix: f.Prefix, Stages: f.Stages, MaxBytes: int64(f.MaxBytes),
		AllowPartial: f.AllowPartial}
}

// fieldFlags are the flags whose names differ from those of their fields in a StartRequest.
var fieldFlags = map[string]string{"profile_prefix": "--prefix", "last_s": "--last", "max_duration_s": "--max-duration"}

// FieldError names the flag of a wrong field in place of the field.
func FieldError(err error) error {
	f, ok := errors.AsType[*protocol.FieldError](err)
	if !ok {
		return err
	}
	field, _, _ := strings.Cut(f.Field, "[")
	name := fieldFlags[field]
	if top, _, ok := strings.Cut(field, "."); ok {
		field = top
	}
	if name == "" {
		name = "--" + strings.ReplaceAll(field, "_", "-")
	}
	return cli.Usage("%s: %w", name, err)
}
