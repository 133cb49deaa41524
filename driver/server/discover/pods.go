package discover

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/hub/link"
)

const (
	// accountDir is where Kubernetes puts a pod's service account.
	accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"
	// maxToken bounds the account's token in bytes: a signed one has some KiB.
	maxToken = 64 << 10
	// page is how many pods one answer has at most: a pod's description has some 10 KiB.
	page = 100
	// maxPage bounds an answer in bytes.
	maxPage = 32 << 20
	// maxPages bounds the pods that are looked at: those that have ended, and are left, come with the
	// others.
	maxPages = 20
	// maxSaid bounds how much of an API server's refusal is shown.
	maxSaid = 300
)

// API is a Kubernetes API server, of which one thing is asked: the pods of a namespace that match a
// selector.
type API struct {
	URL       string
	TokenFile string // read for each question, for Kubernetes renews it
	CA        string // PEM file of who signed its certificate
}

// InCluster is the API server of the cluster in which this process is a pod.
func InCluster() (*API, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("this process is in no pod of Kubernetes: name the servers' service by DNS in its place")
	}
	return &API{URL: "https://" + net.JoinHostPort(host, port), TokenFile: filepath.Join(accountDir, "token"),
		CA: filepath.Join(accountDir, "ca.crt")}, nil
}

// podList is the part that is read of a list of pods.
type podList struct {
	Metadata struct{ Continue string }
	Items    []struct {
		Metadata struct {
			Name              string
			DeletionTimestamp string
		}
		Spec   struct{ NodeName string }
		Status struct {
			Phase string
			PodIP string
		}
	}
}

// pods returns those that run. They may not be ready to serve yet: who asks them finds out.
func (a *API) pods(ctx context.Context, s Source) (out []Found, err error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	defer c.CloseIdleConnections()
	next := ""
	for range maxPages {
		var list podList
		if err := a.get(ctx, c, s, next, &list); err != nil {
			return nil, err
		}
		for _, p := range list.Items {
			ip, err := netip.ParseAddr(p.Status.PodIP)
			if err != nil || p.Status.Phase != "Running" || p.Metadata.DeletionTimestamp != "" {
				continue
			}
			if !validPod(p.Metadata.Name) {
				return nil, fmt.Errorf("a pod has the name %q", p.Metadata.Name)
			}
			found := at(ip, s.Port, p.Metadata.Name)
			found.Node = p.Spec.NodeName
			out = append(out, found)
		}
		if next = list.Metadata.Continue; next == "" {
			return out, nil
		}
	}
	return nil, fmt.Errorf("more than %d pods match: want a closer selector", maxPages*page)
}

// validPod reports whether a name can be part of a path.
func validPod(name string) bool {
	return name != "" && len(name) <= 253 && !strings.ContainsAny(name, "/\\") && name[0] != '.'
}

func (a *API) client() (*http.Client, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.CA != "" {
		var err error
		if cfg.RootCAs, err = link.Authorities(a.CA); err != nil {
			return nil, fmt.Errorf("the cluster's authority: %w", err)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig, transport.Proxy = cfg, nil
	return &http.Client{Transport: transport,
		// A client that followed redirects would send the token to whatever server they name.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

func (a *API) get(ctx context.Context, c *http.Client, s Source, next string, out *podList) error {
	q := url.Values{"labelSelector": {s.Labels}, "limit": {strconv.Itoa(page)}}
	if next != "" {
		q.Set("continue", next)
	}
	at := a.URL + "/api/v1/namespaces/" + url.PathEscape(s.Name) + "/pods?" + q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	token, err := a.token()
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	if err != nil {
		return err
	}
	switch {
	case resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("the service account may not list pods there: bind it the role of "+
			"deploy/kubernetes/kinetoscope.yaml in namespace %s (%s)", s.Name, said(resp.StatusCode, body))
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the API server says %s", said(resp.StatusCode, body))
	case len(body) > maxPage:
		return fmt.Errorf("the API server's answer has more than %d bytes", maxPage)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("the API server's answer: %w", err)
	}
	return nil
}

func (a *API) token() (string, error) {
	f, err := os.Open(a.TokenFile)
	if err != nil {
		return "", fmt.Errorf("the pod's service account: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", fmt.Errorf("the pod's service account: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// said is a refusal, on one line.
func said(status int, body []byte) string {
	var refusal struct{ Message string }
	text := string(body)
	if json.Unmarshal(body, &refusal) == nil && refusal.Message != "" {
		text = refusal.Message
	}
	text = strings.Join(strings.Fields(text), " ")
	return strings.TrimSpace(fmt.Sprintf("%d %.*s", status, maxSaid, text))
}
