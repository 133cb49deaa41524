package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/web"
)

// door is who may come in over HTTP.
type door struct {
	keys []web.Key
	tls  *tls.Config // nil: not encrypted
}

// door reads and checks all that decides who may come in. Where others reach the server it
// asks for a key or a certificate.
func (c *serveCmd) door(e *env) (d door, err error) {
	if c.KeyFile != "" {
		if d.keys, err = readKeys(c.KeyFile); err != nil {
			return d, usage("--api-key-file: %w", err)
		}
	}
	if d.tls, err = serverTLS(c.HTTPCert, c.HTTPKey, c.HTTPClientCA); err != nil {
		return d, usageError{err}
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil || web.IsLoopback(c.Addr) || len(c.APIKeys)+len(d.keys) > 0 || c.HTTPClientCA != "" {
		return d, nil // a wrong address is bind's to say
	}
	if !c.Insecure {
		return d, usage("--addr %s: others reach this address, and whoever does may profile, generate and download: set KINETOSCOPE_API_KEY "+
			"or --api-key-file, ask for certificates with --tls-client-ca, or say --insecure", c.Addr)
	}
	fmt.Fprintf(e.err, "warning: INSECURE: whoever reaches %s may profile, generate and download: no key is asked for\n", c.Addr)
	return d, nil
}

// readKeys reads a file of keys that nobody else can read.
func readKeys(path string) (keys []web.Key, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: want a plain file that its owner alone can read: chmod 600", path)
	}
	if keys, err = web.ParseKeys(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key", path)
	}
	return keys, nil
}

// serverTLS is nil without a certificate. With clientCA clients must show one of its own.
func serverTLS(cert, key, clientCA string) (*tls.Config, error) {
	if cert == "" && key == "" && clientCA == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, fmt.Errorf("--tls-cert and --tls-key belong together, and --tls-client-ca goes with them")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s with --tls-key %s: %w", cert, key, err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clientCA != "" {
		if cfg.ClientCAs, err = link.Authorities(clientCA); err != nil {
			return nil, fmt.Errorf("--tls-client-ca: %w", err)
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

// encrypt has s speak TLS, if cfg says how.
func (s *server) encrypt(cfg *tls.Config) *server {
	if cfg != nil {
		s.ln, s.url = tls.NewListener(s.ln, cfg), "https://"+s.ln.Addr().String()
	}
	return s
}

// tlsFlags say how a client verb trusts a server that speaks TLS, and who it is.
type tlsFlags struct {
	CA   string `name:"tls-ca" env:"KINETOSCOPE_TLS_CA" help:"PEM file of who signed the server's certificate; the system's authorities without it." type:"path"`
	Cert string `name:"tls-cert" env:"KINETOSCOPE_TLS_CERT" help:"PEM certificate to show, where serve has --tls-client-ca." type:"path"`
	Key  string `name:"tls-key" env:"KINETOSCOPE_TLS_KEY" help:"PEM key of the certificate." type:"path"`
}

// client is nil where the flags say nothing.
func (f *tlsFlags) client() (*http.Client, error) {
	if f.CA == "" && f.Cert == "" && f.Key == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if f.CA != "" {
		if cfg.RootCAs, err = link.Authorities(f.CA); err != nil {
			return nil, usage("--tls-ca: %w", err)
		}
	}
	if f.Cert != "" || f.Key != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, usage("--tls-cert with --tls-key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig, t.DisableKeepAlives = cfg, true // a verb sends a request or two
	return &http.Client{Transport: t}, nil
}
