package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/kinetoscope/kinetoscope/hub/link"
)

// userOf makes an nkey, keeps its seed in a file and returns the public half.
func userOf(t *testing.T, file string) string {
	t.Helper()
	k, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := k.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// cluster runs a NATS server of somebody else: an account of the pipeline's, with a user for
// the hub and one for each rank, held to what `credential --permissions` prints, and another
// account.
func cluster(t *testing.T, dir string, ranks []string) (url string) {
	t.Helper()
	users := []string{fmt.Sprintf("{nkey: %s}", userOf(t, filepath.Join(dir, "hub.nk")))}
	for _, r := range ranks {
		permissions, err := exec.Command("kinetoscope", "credential", r, "--permissions").Output()
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, fmt.Sprintf("{nkey: %s, permissions: %s}", userOf(t, filepath.Join(dir, r+".nk")),
			permissions))
	}
	conf := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf(`listen: "127.0.0.1:-1"
jetstream: {store_dir: %q}
accounts: {
  PIPELINES: {jetstream: enabled, users: [%s]}
  OTHERS: {jetstream: enabled, users: [{user: other, password: other}]}
}`, filepath.Join(dir, "js"), strings.Join(users, ", "))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server does not start")
	}
	return s.ClientURL()
}

// TestClusterWithUsers: on a cluster with accounts and nkeys a whole capture works with a
// user for the hub and one for each rank that may do no more than what is printed for it; a
// rank's user is refused what is another rank's, and another account hears nothing.
func TestClusterWithUsers(t *testing.T) {
	dir := t.TempDir()
	ranks := []string{"rank.omni.s0.r0.k0", "rank.omni.s0.r0.k1", "rank.omni.s1.r0.k0", "rank.omni.s2.r0.k0"}
	url := cluster(t, dir, ranks)
	other, err := nats.Connect(url, nats.UserInfo("other", "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	heard, err := other.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("kinetoscope", "capture", "--nats", url, "--nats-creds", filepath.Join(dir, "hub.nk"),
		"--nats-rank-creds", dir,
		"--runs-dir", filepath.Join(dir, "runs"))
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Count(out, []byte(" complete ")) < len(ranks) {
		t.Fatalf("capture: %v\n%s", err, out)
	}
	if n, _, err := heard.Pending(); err != nil || n > 0 {
		t.Errorf("another account heard %d messages, %v", n, err)
	}

	violations := make(chan error, 16)
	nc, err := link.Config{URL: url, Creds: filepath.Join(dir, ranks[1]+".nk"), As: ranks[1]}.Connect(
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, subject := range []string{
		"ks.v1.event.omni.s0.r0.k0", "$KV.ks_ranks.omni.s0.r0.k0", "$KV.ks_sessions.hub.x",
		"$JS.API.STREAM.DELETE.KV_ks_ranks",
		"ks.v1.rank.omni.s2.r0.k0.arm", "ks.v1.hub.hub.beat", "$O.ks_artifacts_omni_s1_r0_k0.C.x",
	} {
		if err := nc.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-violations:
			if !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
				t.Errorf("publish to %s: %v", subject, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("a rank may publish to %s", subject)
		}
	}
	wrong := exec.Command("kinetoscope", "worker", "--nats", url, "--stage", "0", "--nats-creds",
		filepath.Join(dir, "nats.conf"))
	if text, err := wrong.CombinedOutput(); err == nil ||
		!bytes.Contains(text, []byte("neither a user's JWT with its seed nor the seed of an nkey")) {
		t.Errorf("a file that is none: %v, %s", err, text)
	}
}
