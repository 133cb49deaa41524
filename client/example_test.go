package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/kinetoscope/kinetoscope/client"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Captures ten seconds of a server and says what took the time.
func Example() {
	ctx := context.Background()
	c, err := client.New(client.Config{APIKey: os.Getenv("KINETOSCOPE_API_KEY")})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Start(ctx, protocol.StartRequest{Prefix: "evening", MaxBytes: 256 << 20}); err != nil {
		log.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	st, err := c.Stop(ctx, true)
	if err != nil {
		log.Fatal(err)
	}
	rep, err := c.Report(ctx, st)
	if err != nil || rep == nil {
		log.Fatal("no report: ", err)
	}
	for _, f := range rep.Findings {
		fmt.Println(f.Text)
	}
}

// busyServer refuses every start as a server does that records already.
func busyServer() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"error": {"message": "session 01JA is recording: stop it first", "type": "conflict_error",
			"code": "session_running"}, "session": {"id": "01JA", "state": "recording"}}`)
	}))
}

// A refusal says which field is wrong, which session is in the way, what to do.
func ExampleError() {
	server := busyServer()
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Start(context.Background(), protocol.StartRequest{Last: 10 * time.Second})
	if e, ok := errors.AsType[*client.Error](err); ok && e.Session != nil {
		fmt.Println("session", e.Session.ID, "is", e.Session.State)
	}
	// Output: session 01JA is recording
}

// Brings the files of a server's last session home.
func ExampleClient_Download() {
	ctx := context.Background()
	c, err := client.New(client.Config{URL: "http://gpu-box:8000"})
	if err != nil {
		log.Fatal(err)
	}
	last, err := c.Sessions(ctx, 1)
	if err != nil || len(last) == 0 {
		log.Fatal("no session: ", err)
	}
	dir, err := os.OpenRoot("runs")
	if err != nil {
		log.Fatal(err)
	}
	defer dir.Close()
	err = c.Download(ctx, last[0], dir, func(a protocol.Artifact) { fmt.Println(a.Name, a.Size) })
	if err != nil {
		log.Fatal(err)
	}
}
