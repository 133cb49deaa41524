package link

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// joinFile, in the user's directory for caches, holds the URL at which processes of this user
// attach to the hub that listens at the port agreed on.
const joinFile = "kinetoscope/nats"

// PublishJoin tells the processes of this user, and of no other, where they can attach. unpublish
// withdraws that.
func PublishJoin(url string) (unpublish func(), err error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return func() {}, nil // a user without a home: its processes are told by their environment
	}
	path := filepath.Join(dir, filepath.FromSlash(joinFile))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("say where processes attach: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "nats-*") // readable by its owner alone
	if err != nil {
		return nil, fmt.Errorf("say where processes attach: %w", err)
	}
	_, err = f.WriteString(url + "\n")
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("say where processes attach: %w", err), os.Remove(f.Name()))
	}
	return func() {
		if text, err := os.ReadFile(path); err == nil && string(text) == url+"\n" {
			_ = os.Remove(path)
		}
	}, nil
}
