package collective

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
)

// Ranks authenticate each other by keys. Each rank makes a key for itself; its address, which it
// publishes over the control plane, contains the key's hash after a '#'. Connections are TLS 1.3
// with these keys on both ends and without an authority; a peer with any other key is refused.

// keyMark separates a rank's network address from the hash of its key.
const keyMark = "#"

// identity is a rank's key, as a certificate that says nothing else.
type identity struct {
	cert tls.Certificate
	hash string
}

func newIdentity() (*identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	// The dates are not checked: the key is used only by this process and ends with it.
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, hashOf(der)}, nil
}

func hashOf(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// config accepts peers that have one of the keys.
func (i *identity) config(keys ...string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{i.cert}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // there is no authority; VerifyConnection checks the key
		VerifyConnection: func(s tls.ConnectionState) error {
			if !slices.Contains(keys, keyOf(s)) {
				return errStranger
			}
			return nil
		},
		SessionTicketsDisabled: true,
	}
}

// errStranger refuses a peer that has none of the group's keys.
var errStranger = errors.New("its key is none of this group's")

// keyOf is the hash of the other end's key, "" if it showed none.
func keyOf(s tls.ConnectionState) string {
	if len(s.PeerCertificates) == 0 {
		return ""
	}
	return hashOf(s.PeerCertificates[0].Raw)
}

// splitAddr returns the network address and the key's hash of a rank's address.
func splitAddr(addr string) (network, key string, err error) {
	network, key, ok := strings.Cut(addr, keyMark)
	if _, _, bad := net.SplitHostPort(network); !ok || key == "" || bad != nil {
		return "", "", fmt.Errorf("address %q: want host:port%skey, as Listener.Addr has it", addr, keyMark)
	}
	return network, key, nil
}
