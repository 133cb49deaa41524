package flags

import (
	"crypto/tls"
	"net/http"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/internal/cli"
)

// TLS says how a client verb trusts a server that speaks TLS, and who it is.
type TLS struct {
	CA   string `name:"tls-ca" env:"KINETOSCOPE_TLS_CA" help:"PEM file of who signed the server's certificate; the system's authorities without it." type:"path"`
	Cert string `name:"tls-cert" env:"KINETOSCOPE_TLS_CERT" help:"PEM certificate to show, where serve has --tls-client-ca." type:"path"`
	Key  string `name:"tls-key" env:"KINETOSCOPE_TLS_KEY" help:"PEM key of the certificate." type:"path"`
}

// Client returns a client with the flags' certificates; nil if the flags are not set.
func (f *TLS) Client() (*http.Client, error) {
	if f.CA == "" && f.Cert == "" && f.Key == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if f.CA != "" {
		if cfg.RootCAs, err = link.Authorities(f.CA); err != nil {
			return nil, cli.Usage("--tls-ca: %w", err)
		}
	}
	if f.Cert != "" || f.Key != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, cli.Usage("--tls-cert with --tls-key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig, t.DisableKeepAlives = cfg, true // a verb sends a request or two
	return &http.Client{Transport: t}, nil
}
