package discover

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// resolver answers over UDP for one name, as a DNS server does: with addresses, with SRV records for the
// name of a service, and for every other name that there is none.
func resolver(t *testing.T, name string, addresses []string, services map[string]uint16) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(buf[:n]) != nil || len(q.Questions) != 1 {
				continue
			}
			if b, err := answerOf(&q, name, addresses, services); err == nil {
				_, _ = conn.WriteTo(b, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func answerOf(q *dnsmessage.Message, name string, addresses []string, services map[string]uint16) ([]byte, error) {
	asked := q.Questions[0]
	a := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, Authoritative: true},
		Questions: q.Questions}
	head := dnsmessage.ResourceHeader{Name: asked.Name, Class: dnsmessage.ClassINET, TTL: 5}
	add := func(kind dnsmessage.Type, body dnsmessage.ResourceBody) {
		head.Type = kind
		a.Answers = append(a.Answers, dnsmessage.Resource{Header: head, Body: body})
	}
	switch text := strings.TrimSuffix(asked.Name.String(), "."); {
	case text == name:
		for _, s := range addresses {
			ip := net.ParseIP(s)
			if v4 := ip.To4(); v4 != nil && asked.Type == dnsmessage.TypeA {
				add(asked.Type, &dnsmessage.AResource{A: [4]byte(v4)})
			} else if v4 == nil && asked.Type == dnsmessage.TypeAAAA {
				add(asked.Type, &dnsmessage.AAAAResource{AAAA: [16]byte(ip)})
			}
		}
	case text == "_http._tcp."+name && asked.Type == dnsmessage.TypeSRV:
		for host, port := range services {
			add(asked.Type, &dnsmessage.SRVResource{Port: port, Target: dnsmessage.MustNewName(host + ".")})
		}
	default:
		a.RCode = dnsmessage.RCodeNameError
	}
	return a.Pack()
}

func TestAddressesOfAName(t *testing.T) {
	f := &Finder{Resolver: resolver(t, "vllm.inference.svc", []string{"10.0.0.2", "10.0.0.1", "10.0.0.2", "fd00::1"},
		map[string]uint16{"vllm-0.vllm.inference.svc": 8000, "vllm-1.vllm.inference.svc": 8001})}
	for _, tt := range []struct {
		s    Source
		want string
	}{
		{Source{Kind: DNS, Name: "vllm.inference.svc", Port: "8000"},
			"10.0.0.1:8000=10.0.0.1 10.0.0.2:8000=10.0.0.2 [fd00::1]:8000=fd00::1"},
		{Source{Kind: DNS, Name: "_http._tcp.vllm.inference.svc"},
			"vllm-0.vllm.inference.svc:8000=vllm-0.vllm.inference.svc vllm-1.vllm.inference.svc:8001=vllm-1.vllm.inference.svc"},
		{Source{Kind: DNS, Name: "gone.inference.svc", Port: "8000"}, ""},
	} {
		if err := tt.s.Check(); err != nil {
			t.Errorf("%s: %v", tt.s, err)
		}
		got, err := f.Find(t.Context(), tt.s)
		if text := spell(got); err != nil || text != tt.want {
			t.Errorf("%s: %q, %v\nwant %q", tt.s, text, err, tt.want)
		}
	}
}

func spell(list []Found) string {
	var out []string
	for _, f := range list {
		out = append(out, f.Address+"="+f.Name)
	}
	return strings.Join(out, " ")
}

// A resolver that cannot be asked is an error, and not a name without servers.
func TestResolverThatDoesNotAnswer(t *testing.T) {
	f := &Finder{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, fmt.Errorf("no network")
	}}}
	if got, err := f.Find(t.Context(), Source{Kind: DNS, Name: "vllm.svc", Port: "1"}); err == nil {
		t.Errorf("%v", got)
	}
}

// pod is one of the stand-in API server's.
type pod struct{ name, ip, phase, deleted string }

// apiServer answers as a Kubernetes API server does to a list of pods: in pages, to who shows the token.
func apiServer(t *testing.T, pods []pod) (*API, *[]string) {
	t.Helper()
	var asked []string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+" "+r.URL.Query().Get("labelSelector"))
		refuse := func(code int, message string) {
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "status": "Failure", "message": message})
		}
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			refuse(http.StatusUnauthorized, "Unauthorized")
			return
		case r.URL.Path != "/api/v1/namespaces/inference/pods":
			refuse(http.StatusForbidden,
				`pods is forbidden: User "system:serviceaccount:kinetoscope:kinetoscope" cannot list `+
					`resource "pods" in API group "" in the namespace "other"`)
			return
		}
		from := 0
		_, _ = fmt.Sscan(r.URL.Query().Get("continue"), &from)
		list := map[string]any{"kind": "PodList", "apiVersion": "v1"}
		meta := map[string]any{"resourceVersion": "7"}
		items := []any{}
		for i, p := range pods[from:] {
			if i == 2 {
				meta["continue"] = fmt.Sprint(from + i)
				break
			}
			m := map[string]any{"name": p.name, "namespace": "inference"}
			if p.deleted != "" {
				m["deletionTimestamp"] = p.deleted
			}
			items = append(items, map[string]any{"metadata": m, "spec": map[string]any{"nodeName": "n-" + p.name},
				"status": map[string]any{"phase": p.phase, "podIP": p.ip}})
		}
		list["metadata"], list["items"] = meta, items
		_ = json.NewEncoder(w).Encode(list)
	}))
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	a := &API{URL: srv.URL, TokenFile: filepath.Join(dir, "token"), CA: filepath.Join(dir, "ca.crt")}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	for path, b := range map[string][]byte{a.TokenFile: []byte("secret\n"), a.CA: ca} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a, &asked
}

func TestPodsByLabel(t *testing.T) {
	api, asked := apiServer(t, []pod{
		{"decode-1", "10.1.0.2", "Running", ""}, {"decode-0", "10.1.0.1", "Running", ""},
		{"decode-2", "", "Pending", ""}, {"decode-3", "10.1.0.4", "Succeeded", ""},
		{"decode-4", "10.1.0.5", "Running", "2026-11-29T18:00:00Z"}, {"decode-5", "fd00::5", "Running", ""},
	})
	f := &Finder{API: api}
	s := Source{Kind: Pods, Name: "inference", Port: "8000", Labels: "app=vllm,role=decode"}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	got, err := f.Find(t.Context(), s)
	want := []Found{{"10.1.0.1:8000", "decode-0", "n-decode-0"}, {"10.1.0.2:8000", "decode-1", "n-decode-1"},
		{"[fd00::5]:8000", "decode-5", "n-decode-5"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if len(*asked) != 3 || (*asked)[0] != "/api/v1/namespaces/inference/pods app=vllm,role=decode" {
		t.Errorf("asked %q", *asked)
	}
}

// What an API server refuses is said with what mends it, and the token goes nowhere else.
func TestAPIServersThatRefuse(t *testing.T) {
	api, _ := apiServer(t, nil)
	f := &Finder{API: api}
	_, err := f.Find(t.Context(), Source{Kind: Pods, Name: "other", Port: "1", Labels: "a=b"})
	if err == nil || !strings.Contains(err.Error(), "bind it the role") ||
		!strings.Contains(err.Error(), "namespace other") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(api.TokenFile, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = f.Find(t.Context(), Source{Kind: Pods, Name: "inference", Port: "1", Labels: "a=b"})
	if err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("%v", err)
	}
	stolen := ""
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stolen = r.Header.Get("Authorization")
	}))
	defer other.Close()
	away := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer away.Close()
	api.URL = away.URL
	if _, err := f.Find(t.Context(), Source{Kind: Pods, Name: "inference", Port: "1", Labels: "a=b"}); err == nil ||
		stolen != "" {
		t.Errorf("%v; the token went on: %q", err, stolen)
	}
	api.CA = ""
	api.URL = strings.Replace(away.URL, "http:", "https:", 1)
	if _, err := f.Find(t.Context(), Source{Kind: Pods, Name: "inference", Port: "1", Labels: "a=b"}); err == nil {
		t.Error("a server without TLS is believed")
	}
}

func TestOutsideOfACluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	_, err := new(Finder).Find(t.Context(), Source{Kind: Pods, Name: "inference", Port: "1", Labels: "a=b"})
	if err == nil || !strings.Contains(err.Error(), "in no pod") {
		t.Errorf("%v", err)
	}
}

func TestSourcesThatLackSomething(t *testing.T) {
	for _, s := range []Source{
		{Kind: DNS, Name: "vllm.svc"}, {Kind: DNS, Name: "vllm.svc", Port: "1", Labels: "a=b"},
		{Kind: Pods, Name: "inference", Port: "1"}, {Kind: Pods, Name: "inference", Labels: "a=b"},
		{Kind: Pods, Name: "../nodes", Port: "1", Labels: "a=b"},
		{Kind: Pods, Name: "inference", Port: "1", Labels: "a=b\nc"},
		{Kind: Pods, Name: "inference", Port: "1", Labels: strings.Repeat("a", maxLabels+1)},
	} {
		if s.Check() == nil {
			t.Errorf("%+v", s)
		}
	}
}
