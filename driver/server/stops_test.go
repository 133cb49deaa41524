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
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
	"github.com/kinetoscope/kinetoscope/protocol"
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

// A start that is not answered in time may have begun. The server is told to stop, the next session
// waits for that stop, which would end it else, and no file of the first one stays.
func TestStartThatIsNotAnswered(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{}, nil)
	var starts atomic.Int64
	stop := make(chan struct{})
	u.web.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/start_profile":
			if starts.Add(1) == 1 {
				u.srv.ServeHTTP(httptest.NewRecorder(), r)
				<-r.Context().Done()
				return
			}
		case "/stop_profile":
			<-stop
		}
		u.srv.ServeHTTP(w, r)
	})
	u.d.time.start, u.d.time.free = 50*time.Millisecond, 50*time.Millisecond
	first := request(nil)
	if _, err := u.Arm(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: first.Session}); err == nil {
		t.Fatal("it has begun")
	}
	_, err := u.Arm(t.Context(), request(nil))
	if err == nil || !strings.Contains(err.Error(), "not answered its stop") {
		t.Errorf("armed before the stop of the session before was answered: %v", err)
	}
	close(stop)
	u.d.time.start, u.d.time.free = quick.start, quick.free
	second := request(nil)
	if _, err := u.Arm(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if u.srv.Recording() || len(u.left()) > 0 {
		t.Errorf("of the session before: recording %v, files %v", u.srv.Recording(), u.left())
	}
}
