// Package discover finds servers that nobody lists one by one: those at the addresses of a DNS name, and
// the pods of a Kubernetes namespace that have labels. It asks when it is asked to; whoever wants to know
// of changes asks again.
package discover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is how servers are found.
type Kind string

// The kinds, by the names that they have in a target's URL.
const (
	DNS  Kind = "dns"
	Pods Kind = "k8s"
)

const (
	// MaxFound bounds the servers of one source.
	MaxFound = 256
	// timeout bounds one question: a resolver or an API server that is well answers in milliseconds.
	timeout = 10 * time.Second
	// maxLabels bounds a selector in bytes, as a URL may have it.
	maxLabels = 1 << 10
)

// Source says where servers are found. The zero value is none.
type Source struct {
	Kind Kind
	Name string // the DNS name, or the namespace
	// Port is the servers' port. A DNS name without one has SRV records, which say it.
	Port string
	// Labels is a label selector of Kubernetes, which all servers' pods match.
	Labels string
}

// Found is a server.
type Found struct {
	Address string // host:port
	// Name is the pod's name; for DNS the host.
	Name string
	// Node is the node that the pod runs on, "" for DNS.
	Node string
}

var (
	validNamespace = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// validLabels matches what selectors are made of: keys, values, and the set form with its words.
	validLabels = regexp.MustCompile(`^[A-Za-z0-9=!,()._/ -]+$`)
)

// Check says what a source lacks.
func (s Source) Check() error {
	switch {
	case s.Kind == DNS && s.Labels != "":
		return errors.New("labels are of pods: a DNS name has none")
	case s.Kind == DNS && s.Port == "" && !strings.HasPrefix(s.Name, "_"):
		return errors.New("want a port, or the name of SRV records, _NAME._tcp.HOST")
	case s.Kind == Pods && !validNamespace.MatchString(s.Name):
		return fmt.Errorf("%q is no namespace", s.Name)
	case s.Kind == Pods && s.Labels == "":
		return errors.New("want labels: all pods of a namespace are hardly servers")
	case s.Kind == Pods && (len(s.Labels) > maxLabels || !validLabels.MatchString(s.Labels)):
		return fmt.Errorf("labels %q: want a label selector, as app=vllm,role=decode", s.Labels)
	case s.Kind == Pods && s.Port == "":
		return errors.New("want the port at which the pods serve")
	}
	return nil
}

// String is the source for people.
func (s Source) String() string {
	text := string(s.Kind) + "://" + s.Name
	if s.Port != "" {
		text += ":" + s.Port
	}
	if s.Labels != "" {
		text += "?labels=" + s.Labels
	}
	return text
}

// Finder answers for sources. The zero value uses the host's resolver and, in a pod, the cluster's API.
type Finder struct {
	Resolver *net.Resolver // nil: net.DefaultResolver
	API      *API          // nil: that of the cluster in which this process is a pod
}

// Find returns the servers that are there now, sorted by address, each once; none is no error.
func (f *Finder) Find(ctx context.Context, s Source) ([]Found, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out []Found
	var err error
	switch s.Kind {
	case DNS:
		out, err = f.names(ctx, s)
	case Pods:
		api := f.API
		if api == nil {
			if api, err = InCluster(); err != nil {
				return nil, fmt.Errorf("%s: %w", s, err)
			}
		}
		out, err = api.pods(ctx, s)
	default:
		err = fmt.Errorf("there is no way %q to find servers", s.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	slices.SortFunc(out, func(a, b Found) int { return cmp.Compare(a.Address, b.Address) })
	out = slices.CompactFunc(out, func(a, b Found) bool { return a.Address == b.Address })
	if len(out) > MaxFound {
		return nil, fmt.Errorf("%s: %d servers: %d at most", s, len(out), MaxFound)
	}
	return out, nil
}

// names resolves a name. One that does not exist has no servers.
func (f *Finder) names(ctx context.Context, s Source) (out []Found, err error) {
	r := f.Resolver
	if r == nil {
		r = net.DefaultResolver
	}
	if s.Port == "" {
		_, records, err := r.LookupSRV(ctx, "", "", s.Name)
		for _, srv := range records {
			host := strings.TrimSuffix(srv.Target, ".")
			out = append(out, Found{Address: net.JoinHostPort(host, strconv.Itoa(int(srv.Port))), Name: host})
		}
		return out, unlessUnknown(err)
	}
	addresses, err := r.LookupNetIP(ctx, "ip", s.Name)
	for _, a := range addresses {
		out = append(out, at(a.Unmap(), s.Port, ""))
	}
	return out, unlessUnknown(err)
}

func unlessUnknown(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return nil
	}
	return err
}

// at is a server at an address.
func at(a netip.Addr, port, name string) Found {
	return Found{Address: net.JoinHostPort(a.String(), port), Name: cmp.Or(name, a.String())}
}
