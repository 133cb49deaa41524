package flags

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/kinetoscope/kinetoscope/client"
	"github.com/kinetoscope/kinetoscope/internal/cli"
)

// Reach says how a server is reached.
type Reach struct {
	URL    string `default:"${server}" env:"KINETOSCOPE_URL" help:"The server."`
	APIKey string `name:"api-key" env:"KINETOSCOPE_API_KEY" help:"Key that the server asks for." placeholder:"KEY"`
	TLS
}

// Server says which server a verb talks to.
type Server struct {
	Reach
	JSON bool `name:"json" help:"Print the server's answer as JSON."`
}

// Client returns a client of the server that the flags name.
func (f *Reach) Client() (*client.Client, error) {
	h, err := f.TLS.Client()
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{URL: f.URL, APIKey: f.APIKey, HTTP: h})
	if err != nil {
		return nil, cli.Usage("--url: %w", err)
	}
	return c, nil
}

// ServerError makes a UsageError of a server's answer that the user can correct; other errors stay
// as they are.
func ServerError(err error) error {
	if e, ok := errors.AsType[*client.Error](err); ok {
		if e.Status < 500 {
			return cli.UsageError{Err: err}
		}
		return err
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%w; is kinetoscope serve running there? --url names another server", err)
	}
	return FieldError(err)
}
