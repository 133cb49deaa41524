package service

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
)

// flagsOf are the flags that a verb's help names.
func flagsOf(t *testing.T, program, verb string) []string {
	t.Helper()
	out, err := exec.Command(program, verb, "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%s --help: %v\n%s", verb, err, out)
	}
	return regexp.MustCompile(`--[a-z-]+`).FindAllString(string(out), -1)
}

func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the program")
	}
	path := filepath.Join(t.TempDir(), "kinetoscope")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/kinetoscope").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// check holds the arguments after a verb to its flags.
func check(t *testing.T, program, where string, args []string) {
	t.Helper()
	if len(args) == 0 {
		t.Fatalf("%s: no verb", where)
	}
	known := flagsOf(t, program, args[0])
	for _, a := range args[1:] {
		name, _, _ := strings.Cut(a, "=")
		if strings.HasPrefix(name, "--") && !slices.Contains(known, name) {
			t.Errorf("%s: %s has no flag %s", where, args[0], name)
		}
	}
}

// verify has systemd read a unit, with the program where it is installed.
func verify(t *testing.T, program, name, text string) {
	t.Helper()
	systemd, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Logf("%s: no systemd-analyze to verify it", name)
		return
	}
	unit := filepath.Join(t.TempDir(), name)
	text = strings.ReplaceAll(text, "/usr/local/bin/kinetoscope", program)
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(systemd, "verify", "--man=no", "--recursive-errors=no", unit).CombinedOutput()
	if err != nil || strings.Contains(string(out), name) {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

// The fleet in the ConfigMap is one that serve takes.
func fleet(t *testing.T, all []manifest) {
	t.Helper()
	for _, m := range all {
		text, ok := m.Data["fleet.yaml"]
		if !ok {
			continue
		}
		path := filepath.Join(t.TempDir(), "fleet.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, _, err := deploy.Load(path)
		if err != nil || len(p.Targets) == 0 {
			t.Errorf("fleet.yaml of %s: %v", m.Metadata.Name, err)
		}
		return
	}
	t.Error("no fleet")
}

// manifest is what the checks look at of a Kubernetes object.
type manifest struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name      string `yaml:"name"`
		Namespace string `yaml:"namespace"`
	} `yaml:"metadata"`
	Data map[string]string `yaml:"data"`
	Spec struct {
		Selector any `yaml:"selector"`
		Template struct {
			Metadata struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"metadata"`
			Spec struct {
				ServiceAccountName string `yaml:"serviceAccountName"`
				Containers         []struct {
					Args         []string `yaml:"args"`
					VolumeMounts []struct {
						Name      string `yaml:"name"`
						MountPath string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				} `yaml:"containers"`
				Volumes []struct {
					Name      string `yaml:"name"`
					ConfigMap struct {
						Name string `yaml:"name"`
					} `yaml:"configMap"`
					PersistentVolumeClaim struct {
						ClaimName string `yaml:"claimName"`
					} `yaml:"persistentVolumeClaim"`
				} `yaml:"volumes"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

func TestServicesNameWhatIsThere(t *testing.T) {
	program := build(t)
	for _, unit := range []string{"kinetoscope.service", "kinetoscope-agent.service"} {
		text, err := os.ReadFile(filepath.Join("..", "systemd", unit))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)^ExecStart=\S*/kinetoscope (.*(?:\\\n.*)*)`).FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("%s starts nothing", unit)
		}
		check(t, program, unit, strings.Fields(strings.ReplaceAll(m[1], "\\\n", " ")))
		verify(t, program, unit, string(text))
	}
	text, err := os.ReadFile("../kubernetes/kinetoscope.yaml")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	var all []manifest
	for _, doc := range strings.Split(string(text), "\n---\n") {
		var m manifest
		if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
			t.Fatal(err)
		}
		if discovery := m.Metadata.Name == "kinetoscope-discovery"; m.Kind == "" || m.Metadata.Name == "" ||
			m.Metadata.Namespace != "kinetoscope" && (!discovery || m.Metadata.Namespace != "inference") {
			t.Errorf("%+v lacks its kind, name or namespace", m.Metadata)
		}
		there[m.Kind+" "+m.Metadata.Name] = true
		all = append(all, m)
	}
	fleet(t, all)
	pods := 0
	for _, m := range all {
		pod := m.Spec.Template.Spec
		volumes := map[string]bool{}
		for _, v := range pod.Volumes {
			volumes[v.Name] = true
			for kind, name := range map[string]string{"ConfigMap": v.ConfigMap.Name,
				"PersistentVolumeClaim": v.PersistentVolumeClaim.ClaimName} {
				if name != "" && !there[kind+" "+name] {
					t.Errorf("%s: there is no %s %s", m.Metadata.Name, kind, name)
				}
			}
		}
		for _, c := range pod.Containers {
			pods++
			check(t, program, m.Kind+" "+m.Metadata.Name, c.Args)
			if !there["ServiceAccount "+pod.ServiceAccountName] {
				t.Errorf("%s: there is no service account %s", m.Metadata.Name, pod.ServiceAccountName)
			}
			for _, v := range c.VolumeMounts {
				if !volumes[v.Name] {
					t.Errorf("%s mounts %s, which is no volume", m.Metadata.Name, v.Name)
				}
			}
		}
	}
	if pods != 2 {
		t.Errorf("%d containers, want the hub's and the agent's", pods)
	}
}
