package deploy

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/driver/server"
)

// MaxTargets bounds the servers of a deployment file.
const MaxTargets = 256

// targetDoc is a target as it is written.
type targetDoc struct {
	Name       string   `yaml:"name"`
	URL        string   `yaml:"url"`
	Stages     []string `yaml:"stages"`
	Worker     string   `yaml:"worker"`
	Dir        string   `yaml:"dir"`
	Ranks      int      `yaml:"ranks"`
	Keep       bool     `yaml:"keep"`
	Metrics    *bool    `yaml:"metrics"`
	Nsys       bool     `yaml:"nsys"`
	TokenFile  string   `yaml:"token_file"`
	AuthHeader string   `yaml:"auth_header"`
	CA         string   `yaml:"ca"`
	Cert       string   `yaml:"cert"`
	Key        string   `yaml:"key"`
	Agent      string   `yaml:"agent"`
	// Labels are those of the pods of a +k8s target.
	Labels map[string]string `yaml:"labels"`
}

// target reads one; files that it names are relative to dir.
func (d *targetDoc) target(dir string) (server.Target, error) {
	t := server.Target{Token: os.Getenv(server.TokenEnv)}
	if err := t.SetURL(d.URL); err != nil {
		return t, err
	}
	if strings.Contains(d.URL, "?") {
		return t, fmt.Errorf("url %q: options are fields of their own here", d.URL)
	}
	abs := func(path string) string {
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		if p, err := filepath.Abs(filepath.Join(dir, path)); err == nil {
			return p
		}
		return path
	}
	ranks := ""
	if d.Ranks != 0 {
		ranks = fmt.Sprint(d.Ranks)
	}
	metrics := ""
	if d.Metrics != nil {
		metrics = fmt.Sprint(*d.Metrics)
	}
	for _, o := range [][2]string{{"stage", d.Name}, {"stages", strings.Join(d.Stages, ",")}, {"worker", d.Worker},
		{"dir", d.Dir},
		{"ranks", ranks}, {"keep", fmt.Sprint(d.Keep)}, {"nsys", fmt.Sprint(d.Nsys)},
		{"metrics", metrics}, {"token_file", abs(d.TokenFile)},
		{"auth_header", d.AuthHeader},
		{"ca", abs(d.CA)}, {"cert", abs(d.Cert)}, {"key", abs(d.Key)}, {"agent", d.Agent}, {"labels", d.selector()}} {
		if o[1] == "" {
			continue
		}
		if err := t.Set(o[0], o[1]); err != nil {
			return t, err
		}
	}
	if t.Agent == server.OwnNode {
		return t, errors.New("agent: {node} stands in an agent's --target: a file names the agent")
	}
	return t, t.Check()
}

// selector writes labels as Kubernetes selects by them.
func (d *targetDoc) selector() string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(d.Labels)) {
		all = append(all, key+"="+d.Labels[key])
	}
	return strings.Join(all, ",")
}

// targets reads the servers that are profiled as they are.
func (d *document) targets(file string) ([]server.Target, error) {
	if len(d.Targets) > MaxTargets {
		return nil, fmt.Errorf("%d targets: %d at most", len(d.Targets), MaxTargets)
	}
	var out []server.Target
	seen := map[string]int{}
	for i := range d.Targets {
		t, err := d.Targets[i].target(filepath.Dir(file))
		if err != nil {
			return nil, fmt.Errorf("targets[%d]: %w", i, err)
		}
		is := t.URL
		if t.Discover.Kind != "" {
			is = t.Discover.String()
		}
		if j, ok := seen[is]; ok {
			return nil, fmt.Errorf("targets[%d] is targets[%d]: %s", i, j, is)
		}
		seen[is] = i
		out = append(out, t)
	}
	return out, nil
}
