package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/kinetoscope/kinetoscope/client"
	"github.com/kinetoscope/kinetoscope/session"
)

// serverFlags say which server a verb talks to.
type serverFlags struct {
	URL    string `default:"http://127.0.0.1:8000" env:"KINETOSCOPE_URL" help:"The server."`
	APIKey string `name:"api-key" env:"KINETOSCOPE_API_KEY" help:"Key that the server asks for." placeholder:"KEY"`
	tlsFlags
	JSON bool `name:"json" help:"Print the server's answer as JSON."`
}

func (f *serverFlags) client() (*client.Client, error) {
	h, err := f.tlsFlags.client()
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{URL: f.URL, APIKey: f.APIKey, HTTP: h})
	if err != nil {
		return nil, usage("--url: %w", err)
	}
	return c, nil
}

// serverError tells what the user has to correct from what failed on the way or there.
func serverError(err error) error {
	if e, ok := errors.AsType[*client.Error](err); ok {
		if e.Status < 500 {
			return usageError{err}
		}
		return err
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%w; is kinetoscope serve running there? --url names another server", err)
	}
	return flagError(err)
}

func (f *serverFlags) printStatus(e *env, st *session.Status) error {
	if f.JSON {
		return printJSON(e.out, st)
	}
	return printRun(e.out, st)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
