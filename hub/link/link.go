// Package link connects hub and ranks to NATS: addresses, the token that proves who
// may join, the authority that signed the server's certificate. No error, log line or
// Redact of this package shows a token.
package link

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// PingInterval is how often either end asks an idle connection whether the other
	// end is there, and MaxPings how many answers may be missing: a host that is cut
	// off notices within PingInterval × (MaxPings + 1), where NATS's own defaults take
	// minutes.
	PingInterval = 5 * time.Second
	MaxPings     = 2
	// reconnectWait is how often a lost connection is tried again.
	reconnectWait = 250 * time.Millisecond
	// dialTimeout bounds one attempt, TLS included, over a slow link.
	dialTimeout = 5 * time.Second
	// MaxToken bounds a token, in bytes; it is part of every URL.
	MaxToken = 256
)

// EnvToken names the environment variable that holds a token.
const EnvToken = "KINETOSCOPE_NATS_TOKEN"

// Config says where a NATS server is and how to be let in.
type Config struct {
	// URL is nats://[TOKEN@]host:port, tls:// in place of it for an encrypted
	// connection, or several servers of one cluster with commas between them.
	URL string
	// Token is the join token or a rank's or agent's credential; it is used where URL has neither.
	Token string
	// As is the identity of this connection, as package protocol has them. The server holds
	// it to that; a connection with the hub's own credential may leave it out.
	As string
	// Cert and Key are PEM files of this side's certificate, "" for none.
	Cert, Key string
	// Creds is a file with this side's credentials for a cluster with users of its own: a .creds
	// file of a JWT and its seed, or an nkey's seed alone; "" for none.
	Creds string
	// CA is a PEM file with the authorities that may have signed the server's
	// certificate, "" for the system's.
	CA string
}

// Connect opens a connection that goes on reconnecting until it is closed, which
// includes the servers of the cluster that URL does not name. Options of the caller
// come last and so have the last word.
func (c Config) Connect(opts ...nats.Option) (*nats.Conn, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	all := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.Timeout(dialTimeout),
		nats.PingInterval(PingInterval), nats.MaxPingsOutstanding(MaxPings)}
	if c.Token != "" {
		all = append(all, nats.Token(c.Token))
	}
	if c.As != "" {
		all = append(all, nats.Name(c.As), nats.CustomInboxPrefix(protocol.InboxPrefix(c.As)))
	}
	if c.CA != "" {
		all = append(all, nats.RootCAs(c.CA))
	}
	if c.Cert != "" || c.Key != "" {
		all = append(all, nats.ClientCert(c.Cert, c.Key))
	}
	if c.Creds != "" {
		creds, err := credsOption(c.Creds)
		if err != nil {
			return nil, err
		}
		all = append(all, creds)
	}
	nc, err := nats.Connect(c.URL, append(all, opts...)...)
	switch {
	case err == nil:
		return nc, nil
	case errors.Is(err, nats.ErrAuthorization) && c.Creds != "":
		return nil, fmt.Errorf("connect to NATS at %s: the server refuses the credentials in %s: %w", Redact(c.URL),
			c.Creds, err)
	case errors.Is(err, nats.ErrAuthorization):
		return nil, fmt.Errorf("connect to NATS at %s: the server refuses the token: "+
			"use the URL under \"ranks join at\", or the join token or a credential in %s: %w", Redact(c.URL), EnvToken, err)
	}
	return nil, fmt.Errorf("connect to NATS at %s: %w", Redact(c.URL), err)
}

// Authorities reads a PEM file of certificates.
func Authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("authorities: there is no certificate in %s", file)
	}
	return pool, nil
}

// check refuses what nats.Connect would report with the URL in full.
func (c Config) check() error {
	for i, s := range strings.Split(c.URL, ",") {
		u, err := parse(s)
		if err != nil || u.Hostname() == "" {
			return fmt.Errorf("NATS address %d is no URL of the form nats://[TOKEN@]host:port", i+1)
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("NATS address %d has scheme %q: want nats or tls", i+1, u.Scheme)
		}
	}
	return ValidateToken(c.Token)
}

func parse(s string) (*url.URL, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "://") {
		s = "nats://" + s
	}
	return url.Parse(s)
}

// ValidateToken refuses what would have to be escaped in a URL or what NATS would
// take for a password's hash. An empty token is none, and fine.
func ValidateToken(s string) error {
	if len(s) > MaxToken {
		return fmt.Errorf("the NATS token has %d characters, at most %d are allowed", len(s), MaxToken)
	}
	for i, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("-._~", r):
		default:
			return fmt.Errorf("the NATS token's character %d is not a letter, digit, '-', '.', '_' or '~'", i+1)
		}
	}
	return nil
}

// Redact returns scheme and host of URLs with commas between them, which is where no
// credentials can be.
func Redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, s := range list {
		u, err := parse(s)
		if err != nil || u.Host == "" {
			list[i] = "(not a URL)"
			continue
		}
		list[i] = u.Scheme + "://" + u.Host
	}
	return strings.Join(list, ",")
}

// WithToken returns the URLs with the token in those that have no credentials.
func WithToken(urls, token string) string {
	if token == "" {
		return urls
	}
	list := strings.Split(urls, ",")
	for i, s := range list {
		if u, err := parse(s); err == nil && u.User == nil {
			u.User = url.User(token)
			list[i] = u.String()
		}
	}
	return strings.Join(list, ",")
}
