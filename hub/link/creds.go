package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
)

// EnvCreds names the environment variable that holds the path of credentials.
const EnvCreds = "KINETOSCOPE_NATS_CREDS"

// Endings of the files of CredsFor.
const (
	credsEnding = ".creds" // a JWT and its seed
	nkeyEnding  = ".nk"    // an nkey's seed
)

// maxCreds bounds a file of credentials; a JWT with its seed has one or two kilobytes.
const maxCreds = 64 << 10

// CredsFor returns the file with the credentials of an identity: path itself, or in a
// directory IDENTITY.creds or IDENTITY.nk.
func CredsFor(path, identity string) (string, error) {
	if path == "" {
		return "", nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("NATS credentials: %w", err)
	}
	if !st.IsDir() {
		return path, nil
	}
	for _, ending := range []string{credsEnding, nkeyEnding} {
		file := filepath.Join(path, identity+ending)
		if _, err := os.Stat(file); err == nil {
			return file, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("NATS credentials: %w", err)
		}
	}
	return "", fmt.Errorf("NATS credentials: neither %s%s nor %s%s is in %s", identity, credsEnding, identity,
		nkeyEnding, path)
}

// credsOption reads what a file of credentials is. The file is read again at each
// reconnection, so that one that is replaced counts.
func credsOption(path string) (nats.Option, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("NATS credentials: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCreds))
	if err != nil {
		return nil, fmt.Errorf("NATS credentials: %w", err)
	}
	if bytes.Contains(text, []byte("BEGIN NATS USER JWT")) {
		return nats.UserCredentials(path), nil
	}
	o, err := nats.NkeyOptionFromSeed(path)
	if err != nil {
		return nil, fmt.Errorf("NATS credentials: %s has neither a user's JWT with its seed nor the seed of an nkey",
			path)
	}
	return o, nil
}
