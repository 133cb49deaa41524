// Package check holds the manifests of deploy/kubernetes to the types of Kubernetes' own API: every field is
// one that there is, of the type that it has. It is a module of its own, for nothing else needs these types.
package check

import (
	"bytes"
	"os"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const (
	groupCore    = "v1"
	groupApps    = "apps/v1"
	groupRBAC    = "rbac.authorization.k8s.io/v1"
	groupNetwork = "networking.k8s.io/v1"
)

// kinds are the objects that manifests may have, by their group, version and kind.
var kinds = map[metav1.TypeMeta]func() any{
	of(groupCore, "ServiceAccount"):        func() any { return &core.ServiceAccount{} },
	of(groupCore, "ConfigMap"):             func() any { return &core.ConfigMap{} },
	of(groupCore, "PersistentVolumeClaim"): func() any { return &core.PersistentVolumeClaim{} },
	of(groupCore, "Service"):               func() any { return &core.Service{} },
	of(groupApps, "Deployment"):            func() any { return &apps.Deployment{} },
	of(groupApps, "DaemonSet"):             func() any { return &apps.DaemonSet{} },
	of(groupRBAC, "Role"):                  func() any { return &rbac.Role{} },
	of(groupRBAC, "RoleBinding"):           func() any { return &rbac.RoleBinding{} },
	of(groupNetwork, "NetworkPolicy"):      func() any { return &networking.NetworkPolicy{} },
}

func of(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

// check says what is wrong with one object.
func check(doc []byte) error {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return err
	}
	object, ok := kinds[kind]
	if !ok {
		return &unknownKind{kind}
	}
	return yaml.UnmarshalStrict(doc, object())
}

type unknownKind struct{ kind metav1.TypeMeta }

func (e *unknownKind) Error() string { return "there is no " + e.kind.APIVersion + " " + e.kind.Kind }

func TestManifests(t *testing.T) {
	text, err := os.ReadFile("../kinetoscope.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs := bytes.Split(text, []byte("\n---\n"))
	if len(docs) < 10 {
		t.Errorf("%d objects", len(docs))
	}
	for i, doc := range docs {
		if err := check(doc); err != nil {
			t.Errorf("object %d: %v\n%.120s", i, err, doc)
		}
	}
}

// The check fails for what an API server would refuse or leave out.
func TestWrongManifests(t *testing.T) {
	for _, doc := range []string{
		"apiVersion: v1\nkind: Servise\nmetadata: {name: a}",
		"apiVersion: apps/v1\nkind: Deployment\nspec: {replica: 1}",
		"apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: one}",
		"apiVersion: apps/v1\nkind: DaemonSet\nspec: {template: {spec: {containers: [{nmae: a}]}}}",
	} {
		if check([]byte(doc)) == nil {
			t.Errorf("%q is taken", doc)
		}
	}
}
