package server

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// A stop counts as sent once nothing of it can be lost in this process any more: a connection that is cut at
// that moment still brings the server all of it, over HTTP/1, over TLS and over HTTP/2.
func TestStopsThatCountAsSentArrive(t *testing.T) {
	for _, c := range []struct {
		name       string
		tls, http2 bool
		proto      string
	}{
		{"HTTP/1", false, false, "HTTP/1.1"},
		{"HTTP/1 over TLS", true, false, "HTTP/1.1"},
		{"HTTP/2", true, true, "HTTP/2.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			arrived := make(chan string, 1)
			web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					body = []byte(err.Error())
				}
				arrived <- r.Proto + " " + r.URL.Path + " " + string(body)
			}))
			web.EnableHTTP2 = c.http2
			to := Target{}
			if c.tls {
				web.StartTLS()
				to.CA = filepath.Join(t.TempDir(), "ca.pem")
				certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
				if err := os.WriteFile(to.CA, certificate, 0o600); err != nil {
					t.Fatal(err)
				}
			} else {
				web.Start()
			}
			defer web.Close()
			to.URL = web.URL
			client, err := newClient(to)
			if err != nil {
				t.Fatal(err)
			}
			var cut atomic.Pointer[net.TCPConn]
			transport := client.http.Transport.(*http.Transport)
			defer transport.CloseIdleConnections()
			transport.DialContext = dialWatched(func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				if err == nil {
					cut.Store(conn.(*net.TCPConn))
				}
				return conn, err
			})
			sent := make(chan error, 1)
			ctx := whenSent(t.Context(), func() { sent <- cut.Load().CloseWrite() })
			_, _ = client.call(ctx, http.MethodPost, "/stop_profile", map[string]any{"run": "one"}) // it may be cut
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-arrived:
				if want := c.proto + ` /stop_profile {"run":"one"}`; got != want {
					t.Errorf("the server had %q, want %q", got, want)
				}
			case <-time.After(time.Minute):
				t.Error("a stop that counts as sent does not arrive")
			}
		})
	}
}
