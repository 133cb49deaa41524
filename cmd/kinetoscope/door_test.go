package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
)

// certificate makes a certificate of 127.0.0.1 that is its own authority.
func certificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der},
		key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// A server that asks for certificates, from its verbs: who has one of its authority comes
// in, nobody else does.
func TestServeAsksForCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "server")
	client, clientKey := certificate(t, dir, "client")
	other, otherKey := certificate(t, dir, "other")
	ready := filepath.Join(dir, "ready")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var said bytes.Buffer
	go func() {
		done <- run(ctx, []string{"serve", "--attach", "--addr", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
			"--runs-dir", dir,
			"--ready-file", ready, "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", client},
			cli.Streams{Out: &said, Err: &said})
	}()
	defer func() {
		stop()
		<-done
	}()
	url := ""
	for deadline := time.Now().Add(30 * time.Second); url == ""; time.Sleep(10 * time.Millisecond) {
		b, _ := os.ReadFile(ready)
		if url = strings.TrimSpace(string(b)); time.Now().After(deadline) {
			t.Fatal("it does not serve")
		}
	}
	if !strings.HasPrefix(url, "https://") {
		t.Fatalf("serves at %s", url)
	}
	for name, c := range map[string]struct {
		flags []string
		code  int
	}{
		"its certificate":       {[]string{"--tls-ca", cert, "--tls-cert", client, "--tls-key", clientKey}, 0},
		"no certificate":        {[]string{"--tls-ca", cert}, 1},
		"another's certificate": {[]string{"--tls-ca", cert, "--tls-cert", other, "--tls-key", otherKey}, 1},
		"another server":        {[]string{"--tls-ca", other, "--tls-cert", client, "--tls-key", clientKey}, 1},
		"no authority":          {nil, 1},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), append([]string{"status", "--url", url}, c.flags...),
			cli.Streams{Out: &out, Err: &out}); code != c.code {
			t.Errorf("with %s: exit code %d, want %d: %s", name, code, c.code, &out)
		}
	}
}

// safeBuffer is written by the server while the test reads.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// No secret is in a command line of this host, in the log, or in what a session leaves.
func TestSecretsShowNowhere(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("starts a pipeline, and reads /proc")
	}
	dir := t.TempDir()
	data, runsDir, ready := filepath.Join(dir, "data"), filepath.Join(dir, "runs"), filepath.Join(dir, "ready")
	const key = "sk-test-0123456789abcdef"
	t.Setenv(flags.APIKeyEnv, key)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var said safeBuffer
	go func() {
		done <- run(ctx, []string{"serve", "--addr", "127.0.0.1:0", "--data-dir", data, "--runs-dir", runsDir,
			"--ready-file", ready, "-v"},
			cli.Streams{Out: &said, Err: &said})
	}()
	defer stop()
	url := ""
	for deadline := time.Now().Add(2 * time.Minute); url == ""; time.Sleep(10 * time.Millisecond) {
		b, _ := os.ReadFile(ready)
		if url = strings.TrimSpace(string(b)); time.Now().After(deadline) {
			t.Fatalf("it does not serve: %s", &said)
		}
	}
	t.Setenv(flags.APIKeyEnv, key) // the server took it away
	for _, args := range [][]string{{"start"}, {"stop"}} {
		var out bytes.Buffer
		if code := run(t.Context(), append(args, "--url", url), cli.Streams{Out: &out, Err: &out}); code != 0 {
			t.Fatalf("%v: %s", args, &out)
		}
	}
	secrets := map[string]string{"the API key": key}
	for name, file := range map[string]string{"the join token": hub.TokenFile, "the hub's secret": "nats-secret"} {
		b, err := os.ReadFile(filepath.Join(data, file))
		if err != nil {
			t.Fatal(err)
		}
		secrets[name] = strings.TrimSpace(string(b))
	}
	own, err := hub.CredentialOf(data, "rank.omni.s0.r0.k0")
	if err != nil {
		t.Fatal(err)
	}
	secrets["a rank's credential"] = own
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lines) == 0 {
		t.Fatal("no processes", err)
	}
	found := func(where string, text []byte) {
		for name, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s is in %s", name, where)
			}
		}
	}
	for _, file := range lines {
		b, _ := os.ReadFile(file) // gone meanwhile
		found(file, b)
	}
	stop()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(said.String()) {
		found("the log: "+line, []byte(line))
	}
	if !strings.Contains(said.String(), "with the token in "+filepath.Join(data, hub.TokenFile)) {
		t.Errorf("it is not said where the token is: %s", &said)
	}
	files := 0
	err = filepath.WalkDir(runsDir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files++
			b, err := os.ReadFile(path)
			found(path, b)
			return err
		}
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("%d files of a run, %v", files, err)
	}
}
