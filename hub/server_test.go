package hub

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// open starts a hub for one test, whose log it returns.
func open(t *testing.T, c Config) (*Hub, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if c.DataDir == "" {
		c.DataDir = t.TempDir()
	}
	h, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, log
}

func dial(t *testing.T, c link.Config) error {
	t.Helper()
	nc, err := c.Connect(nats.NoReconnect())
	if err == nil {
		nc.Close()
	}
	return err
}

func parsed(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// ownURL is where whoever may do everything connects.
func (e *embedded) ownURL() string {
	return strings.Replace(e.join, e.access.join+"@", e.access.own+"@", 1)
}

// dialer is a rank that is started by hand.
var dialer = protocol.RankID{Pipeline: "p"}.Identity()

// Every user of a host reaches its loopback.
func TestLoopbackNeedsAToken(t *testing.T) {
	for _, listen := range []string{"", "127.0.0.1:0", "localhost:0", "[::1]:0"} {
		if strings.Contains(listen, "::1") && !hasIPv6() {
			continue
		}
		h, _ := open(t, Config{Connection: Connection{Listen: listen}})
		u := parsed(t, h.ClientURL())
		if len(u.User.Username()) < 20 {
			t.Errorf("%q: ranks join without a token", listen)
		}
		if err := dial(t, link.Config{URL: h.ClientURL(), As: dialer}); err != nil {
			t.Errorf("%q: %v", listen, err)
		}
		u.User = nil
		if err := dial(t, link.Config{URL: u.String(), As: dialer}); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%q: whoever reaches it may join: %v", listen, err)
		}
	}
}

func hasIPv6() bool {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		ln.Close()
	}
	return err == nil
}

func TestOpenListenerWantsAToken(t *testing.T) {
	dir := t.TempDir()
	h, log := open(t, Config{Connection: Connection{Listen: "0.0.0.0:0"}, DataDir: dir})
	u := parsed(t, h.ClientURL())
	token := u.User.Username()
	if len(token) < 20 || net.ParseIP(u.Hostname()) == nil || net.ParseIP(u.Hostname()).IsUnspecified() {
		t.Fatalf("ranks join at %s", u)
	}
	if parsed(t, h.LocalURL()).Hostname() != "127.0.0.1" {
		t.Errorf("ranks here join at %s", h.LocalURL())
	}
	for _, ok := range []link.Config{{URL: h.ClientURL()}, {URL: h.LocalURL()}, {URL: u.Host, Token: token}} {
		ok.As = dialer
		if err := dial(t, ok); err != nil {
			t.Errorf("%s: %v", link.Redact(ok.URL), err)
		}
	}
	for _, bad := range []link.Config{{URL: "nats://wrongwrong@" + u.Host}, {URL: u.Host},
		{URL: u.Host, Token: "wrongwrong"}} {
		err := dial(t, bad)
		if !errors.Is(err, nats.ErrAuthorization) || !strings.Contains(err.Error(), "refuses the token") {
			t.Errorf("joined with %+v: %v", bad, err)
		} else if strings.Contains(err.Error(), "wrongwrong") {
			t.Errorf("the error shows the token: %v", err)
		}
	}
	path := filepath.Join(dir, TokenFile)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), token) {
		t.Errorf("the token is in the log:\n%s", log)
	}
	again, _ := open(t, Config{Connection: Connection{Listen: "0.0.0.0:0"}, DataDir: dir})
	if got := parsed(t, again.ClientURL()).User.Username(); got != token {
		t.Error("a restarted hub has another token")
	}
}

func TestAdvertise(t *testing.T) {
	for advertise, want := range map[string]string{
		"gpu-a":       "gpu-a:PORT",
		"gpu-a:14222": "gpu-a:14222",
		"2001:db8::1": "[2001:db8::1]:PORT",
	} {
		h, _ := open(t, Config{Connection: Connection{Listen: "0.0.0.0:0", Advertise: advertise, Token: "mine"}})
		u, local := parsed(t, h.ClientURL()), parsed(t, h.LocalURL())
		if got := strings.Replace(u.Host, ":"+local.Port(), ":PORT", 1); got != want || u.User.Username() != "mine" {
			t.Errorf("%s: %s", advertise, u)
		}
	}
	_, err := Start(t.Context(), Config{DataDir: t.TempDir(), Connection: Connection{Listen: "0.0.0.0:0",
		Advertise: "a:b:c"}, Logger: testLogger(t)})
	if err == nil || !strings.Contains(err.Error(), "a:b:c") {
		t.Error(err)
	}
}

// A hub and a rank over TLS, from the clock probes to the artifacts.
func TestSessionOverTLS(t *testing.T) {
	cert, key := certificate(t, "127.0.0.1")
	r := newRig(t, func(c *Config) { c.TLSCert, c.TLSKey, c.Token = cert, key, "mine" })
	if u := parsed(t, r.ClientURL()); u.Scheme != "tls" {
		t.Fatalf("ranks join at %s", u)
	}
	if err := dial(t, link.Config{URL: r.ClientURL()}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the authority: %v", err)
	}
	nc, err := link.Config{URL: r.ClientURL(), CA: cert, As: dialer}.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.TLSConnectionState(); err != nil {
		t.Fatal(err)
	}
	second := newRig(t, func(c *Config) {
		c.NATSURL, c.TLSCA, c.Name = r.srv.ownURL(), cert, "second"
	})
	c := second.config(0, 0)
	c.CA = cert
	second.add(c)
	second.ready(1)
	second.start(protocol.StartRequest{})
	second.work(1)
	if st := second.stop(); st.State != session.StateComplete || len(second.verify(st)) != 1 {
		t.Fatalf("%+v", st)
	}
	_, err = Start(t.Context(), Config{DataDir: t.TempDir(), Connection: Connection{TLSCert: cert},
		Logger: testLogger(t)})
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate without key: %v", err)
	}
}

// certificate writes a self-signed certificate for host and its key.
func certificate(t *testing.T, host string) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.ParseIP(host)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der},
		key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// A port that is taken is said at once.
func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	begin := time.Now()
	_, err = Start(t.Context(), Config{DataDir: t.TempDir(), RunsDir: t.TempDir(),
		Connection: Connection{Listen: l.Addr().String()}, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "a hub or another NATS server runs there") ||
		!strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("%v", err)
	}
	if took := time.Since(begin); took > serverReadyTimeout/2 {
		t.Errorf("said after %v", took)
	}
}
