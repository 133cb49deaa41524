package servertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// Serve serves a "vllm" or "sglang" that writes to dir on a free port of the loopback address until
// ctx ends. It writes host and port to file, whole or not at all.
func Serve(ctx context.Context, kind, dir, file string, q Quirks) error {
	var s *Server
	switch kind {
	case "vllm":
		s = VLLM(dir, q)
	case "sglang":
		s = SGLang(dir, q)
	default:
		return fmt.Errorf("server %q: there are vllm and sglang", kind)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := os.WriteFile(file+".part", []byte(ln.Addr().String()), 0o600); err != nil {
		return errors.Join(err, ln.Close())
	}
	if err := os.Rename(file+".part", file); err != nil {
		return errors.Join(err, ln.Close())
	}
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
