package hub

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// as connects with the credential of one identity.
func as(t *testing.T, h *Hub, identity string) (nc *nats.Conn, refused func(what string)) {
	t.Helper()
	token, err := h.Credential(identity)
	if err != nil {
		t.Fatal(err)
	}
	u := parsed(t, h.LocalURL())
	u.User = nil
	violations := make(chan error, 64)
	nc, err = link.Config{URL: u.String(), Token: token, As: identity}.Connect(
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, func(what string) {
		t.Helper()
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-violations:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s is not refused", what)
		}
	}
}

func TestARankSaysAndHearsItsOwnAlone(t *testing.T) {
	r := newRig(t, nil)
	r.join(2)
	r.ready(2)
	rogue := protocol.RankID{Pipeline: "omni", Stage: 0, Rank: 0}
	victim := protocol.RankID{Pipeline: "omni", Stage: 0, Rank: 1}
	nc, refused := as(t, r.Hub, rogue.Identity())
	for _, subject := range []string{
		"$KV." + protocol.BucketRanks + "." + victim.Key(), // another's presence
		victim.EventSubject(),
		victim.Subject(protocol.MethodStop), // drive another rank
		protocol.HubBeatSubject(DefaultName),
		protocol.HubClaimSubject(DefaultName),
		"$KV." + protocol.BucketSessions + ".hub.x",
		"$KV." + protocol.BucketDeploy + ".omni",
		"$O." + victim.ArtifactsBucket() + ".M.x", // another's files
		"$JS.API.STREAM.DELETE.KV_" + protocol.BucketRanks,
		"$JS.API.STREAM.PURGE.KV_" + protocol.BucketRanks,
		"$JS.API.STREAM.CREATE.mine",
		"$JS.API.STREAM.NAMES",
		"$JS.API.STREAM.MSG.GET.KV_" + protocol.BucketSessions,
		"$JS.API.DIRECT.GET.KV_" + protocol.BucketSessions + ".$KV." + protocol.BucketSessions + ".hub.x",
		"$JS.API.CONSUMER.CREATE.KV_" + protocol.BucketRanks,
		"$SYS.REQ.SERVER.PING",
		protocol.From(protocol.DataSubject("omni", 1, 0), protocol.SenderHub), // as the orchestrator
		protocol.From(protocol.DataSubject("omni", 1, 0), victim.Sender()),
		protocol.From(protocol.OutputSubject("omni", "x"), victim.Sender()),
		protocol.From(protocol.DataSubject("other", 1, 0), rogue.Sender()),
		protocol.InboxPrefix("hub") + ".x.y", // a reply to what it was not asked
	} {
		if err := nc.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		refused("publish to " + subject)
	}
	for _, subject := range []string{">", "ks.v1.rank.>", victim.Subject(protocol.MethodArm), "_INBOX.>", "$KV.>",
		"$O.>",
		"ks.v1.data.>", "ks.v1.out.>", "ks.v1.event.>", protocol.InboxPrefix("hub") + ".>"} {
		if _, err := nc.Subscribe(subject, func(*nats.Msg) {}); err != nil {
			t.Fatal(err)
		}
		refused("subscribe to " + subject)
	}
	if got := r.Ranks("omni"); len(got) != 2 {
		t.Errorf("%d ranks are left", len(got))
	}
}

// A message that replaces all before it would empty the bucket of everybody's presence.
func TestARankDoesNotRollUpThePresences(t *testing.T) {
	r := newRig(t, nil)
	r.join(2)
	r.ready(2)
	rogue := protocol.RankID{Pipeline: "omni", Stage: 0, Rank: 0}
	nc, _ := as(t, r.Hub, rogue.Identity())
	for _, header := range []string{"all", "sub"} {
		m := nats.NewMsg("$KV." + protocol.BucketRanks + "." + rogue.Key())
		m.Header.Set("Nats-Rollup", header)
		m.Data = []byte("{}")
		reply, err := nc.RequestMsg(m, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(reply.Data), "error") {
			t.Errorf("rollup %s: %s", header, reply.Data)
		}
	}
	keys, err := r.Hub.ranks.Keys(t.Context())
	if err != nil || len(keys) != 2 {
		t.Errorf("presences of %v, %v", keys, err)
	}
}

func TestPresencesAndUploadsHaveQuotas(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	r.ready(1)
	id := r.ranks[0].member.Info().RankID
	nc, _ := as(t, r.Hub, id.Identity())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), protocol.BucketRanks)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), id.Key(), make([]byte, protocol.MaxPresence+1)); err == nil {
		t.Error("a presence of more than its quota is taken")
	}
	r.start(protocol.StartRequest{})
	r.work(1)
	r.stop()
	for bucket, want := range map[string]int64{"KV_" + protocol.BucketRanks: protocol.MaxPresences, "OBJ_" +
		id.ArtifactsBucket(): protocol.MaxUpload} {
		s, err := r.js.Stream(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().Config.MaxBytes; got != want {
			t.Errorf("%s takes %d bytes, want %d", bucket, got, want)
		}
	}
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	h, log := open(t, Config{DataDir: dir})
	u := parsed(t, h.LocalURL())
	join := u.User.Username()
	u.User = nil
	id := protocol.RankID{Pipeline: "p", Stage: 1, Replica: 2, Rank: 3}
	own, err := h.Credential(id.Identity())
	if err != nil {
		t.Fatal(err)
	}
	if got := parsed(t, h.RankURL(id)).User.Username(); got != own || link.ValidateToken(own) != nil {
		t.Errorf("a launched rank has %q, want %q", got, own)
	}
	mac := own[strings.LastIndexByte(own, '.'):]
	for name, c := range map[string]struct {
		token, as string
		ok        bool
	}{
		"a rank's own":                    {own, id.Identity(), true},
		"join as a rank":                  {join, id.Identity(), true},
		"join as an agent":                {join, protocol.AgentIdentity("p"), true},
		"join as nobody":                  {join, "", false},
		"join as the hub":                 {join, "hub", false},
		"join as a rank with wildcards":   {join, "rank.p.*.*.*", false},
		"join as an agent of all":         {join, "agent.>", false},
		"a rank's code for another rank":  {"rank.p.s0.r0.k0" + mac, "rank.p.s0.r0.k0", false},
		"a rank's code for an agent":      {"agent.p" + mac, "agent.p", false},
		"an identity without a code":      {id.Identity(), id.Identity(), false},
		"an identity with an empty code":  {id.Identity() + ".", id.Identity(), false},
		"nothing":                         {"", id.Identity(), false},
		"the hub's name for a credential": {"hub", "hub", false},
	} {
		err := dial(t, link.Config{URL: u.String(), Token: c.token, As: c.as})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && c.token != "" && len(c.token) > 10 && strings.Contains(err.Error(), c.token) {
			t.Errorf("%s: the error shows the credential", name)
		}
	}
	for _, bad := range []string{"", "hub", "rank.p", "rank.p.s0.r0.k*", "agent.", "agent.a.b"} {
		if _, err := h.Credential(bad); err == nil {
			t.Errorf("identity %q has a credential", bad)
		}
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, secretFile))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	for _, secret := range []string{join, mac} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("a secret is in the log:\n%s", log)
		}
	}
	if got, err := CredentialOf(dir, id.Identity()); err != nil || got != own {
		t.Errorf("from its directory: %v", err)
	}
	again, _ := open(t, Config{DataDir: dir})
	if got, err := again.Credential(id.Identity()); err != nil || got != own {
		t.Errorf("a restarted hub knows its ranks' credentials no more: %v", err)
	}
}

// An agent takes part for the ranks of its pipeline, and has no part in their work.
func TestAnAgentIsHeldToItsPipeline(t *testing.T) {
	r := newRig(t, nil)
	nc, refused := as(t, r.Hub, protocol.AgentIdentity("p"))
	other := protocol.RankID{Pipeline: "q"}
	for _, subject := range []string{other.EventSubject(), "$KV." + protocol.BucketRanks + "." + other.Key(),
		protocol.From(protocol.DataSubject("p", 0, 0), "s0-r0-k0"),
		protocol.From(protocol.OutputSubject("p", "x"), "s0-r0-k0"),
		"$JS.API.STREAM.DELETE.KV_" + protocol.BucketRanks, "$O." + protocol.RankID{Pipeline: "p"}.ArtifactsBucket() +
			".M.x"} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		refused("publish to " + subject)
	}
}

// A rank that answers with another's id is not believed.
func TestAnAnswerAsAnotherRankIsRefused(t *testing.T) {
	r := newRig(t, nil)
	id := protocol.RankID{Pipeline: "omni", Stage: 0, Rank: 0}
	nc, _ := as(t, r.Hub, id.Identity())
	claimed := id
	claimed.Rank = 1
	sub, err := nc.Subscribe(id.Subject(protocol.MethodStatus), func(m *nats.Msg) {
		b, _ := json.Marshal(protocol.RankStatus{RankID: claimed, State: protocol.StateIdle})
		_ = m.Respond(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r.reg.seen(protocol.RankInfo{RankID: id, Incarnation: "i", Protocol: protocol.Version}, time.Now())
	var s protocol.RankStatus
	err = r.request(t.Context(), id, "i", protocol.MethodStatus, struct{}{}, &s)
	if err == nil || !strings.Contains(err.Error(), "answers as omni stage 0 replica 0 rank 1") {
		t.Errorf("%+v, %v", s, err)
	}
}

// What a rank says is text on one line, whatever it says, and no more than is kept with every session: in
// its presence, its answers, its reports, its refusals.
func TestWhatARankSaysIsText(t *testing.T) {
	r := newRig(t, nil)
	id := protocol.RankID{Pipeline: "omni", Stage: 0, Rank: 0}
	nc, _ := as(t, r.Hub, id.Identity())
	hostile := "\x1b]0;owned\x07\n\u009b31m\u202e" + strings.Repeat("x", 1<<20)
	sub, err := nc.Subscribe(id.Subject(protocol.MethodStatus), func(m *nats.Msg) {
		b, _ := json.Marshal(protocol.RankStatus{RankID: id, State: protocol.StateFailed, Reason: hostile,
			Others: []protocol.RankStatus{{RankID: id, Reason: hostile}}})
		_ = m.Respond(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	refusing, err := nc.Subscribe(id.Subject(protocol.MethodArm), func(m *nats.Msg) {
		reply := nats.NewMsg(m.Reply)
		reply.Header.Set(micro.ErrorHeader, "\u202eno\u009b31m"+strings.Repeat("x", 100_000))
		_ = m.RespondMsg(reply)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = refusing.Unsubscribe() }()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r.reg.seen(protocol.RankInfo{RankID: id, Incarnation: "i", Protocol: protocol.Version}, time.Now())
	check := func(what, text string) {
		t.Helper()
		if len(text) > 2*protocol.MaxReason || strings.ContainsFunc(text, neutral.Command) {
			t.Errorf("%s: %d bytes, %.40q", what, len(text), text)
		}
	}
	var s protocol.RankStatus
	if err := r.request(t.Context(), id, "i", protocol.MethodStatus, struct{}{}, &s); err != nil || len(s.Others) != 1 {
		t.Fatalf("%v, %d others", err, len(s.Others))
	}
	check("an answer", s.Reason)
	check("an answer for others", s.Others[0].Reason)
	err = r.request(t.Context(), id, "i", protocol.MethodArm, struct{}{}, &s)
	if err == nil {
		t.Fatal("it did not refuse")
	}
	check("a refusal", err.Error())

	kv, err := r.JetStream().KeyValue(t.Context(), protocol.BucketRanks)
	if err != nil {
		t.Fatal(err)
	}
	other := protocol.RankID{Pipeline: "omni", Stage: 0, Rank: 1}
	for _, info := range []protocol.RankInfo{ // taken in this order: with the last, the first was looked at
		{RankID: other, Incarnation: "bad", Protocol: protocol.Version, StageName: "\u202egpj"},
		{RankID: other, Incarnation: "bad", Protocol: protocol.Version, Host: strings.Repeat("h", 5000)},
		{RankID: other, Incarnation: "good", Protocol: protocol.Version, StageName: "text encoder"},
	} {
		b, err := json.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Put(t.Context(), other.Key(), b); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := wait.Until(ctx, time.Millisecond, func() bool {
		_, err := r.reg.alive(other, "")
		return err == nil
	}); err != nil {
		t.Fatal("the last presence is not taken")
	}
	if _, err := r.reg.alive(other, "good"); err != nil {
		t.Errorf("a presence that is no text was taken: %v", err)
	}
}

// A rank that says its spool is some directory, with links to what the hub alone may read.
func TestTheHubTakesFilesFromSpoolsThatItGaveOutAlone(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("the hub's"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, given := range map[string]bool{"a directory of the rank's": false, "the hub's": true} {
		for _, plant := range []func(path string) error{
			func(path string) error { return os.Symlink(secret, path) },
			func(path string) error { return os.Link(secret, path) },
			func(path string) error { return syscall.Mkfifo(path, 0o600) },
		} {
			r := newRig(t, nil)
			r.join(1)
			rogue := r.config(0, 1)
			if !given {
				rogue.Spool = t.TempDir()
			}
			p := spawnRank(t, rogue)
			r.ready(2)
			st := r.start(protocol.StartRequest{})
			dir := filepath.Join(rogue.Spool, st.ID)
			p.kill(t)
			for _, ext := range []string{".ksrec", ".json"} {
				path := filepath.Join(dir, rogue.Info.FileBase()+ext)
				_ = os.Remove(path) // what it recorded
				if err := plant(path); err != nil {
					t.Fatal(err)
				}
			}
			r.RankGone(rogue.Info.RankID, p.inc, "signal: killed")
			st = r.stop()
			for _, a := range st.Rank(rogue.Info.RankID).Artifacts {
				b, _ := os.ReadFile(filepath.Join(st.RunDir, a.Name))
				t.Errorf("%s: %s is taken: %q", name, a.Name, b)
			}
			if other := st.Rank(r.ranks[0].member.Info().RankID); other.State != protocol.StateComplete {
				t.Errorf("the other rank: %+v", other)
			}
		}
	}
}

// Runs, spools, secrets and what NATS keeps are their user's alone.
func TestNobodyElseReadsWhatIsKept(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	r.ready(1)
	r.start(protocol.StartRequest{})
	r.work(1)
	seen := 0
	look := func(dir string) {
		t.Helper()
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return nil // removed meanwhile
			}
			fi, err := d.Info()
			if err == nil && fi.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", path, fi.Mode())
			}
			seen++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	look(r.spool)
	st := r.stop()
	look(r.cfg.DataDir)
	look(st.RunDir)
	if seen < 10 {
		t.Errorf("%d files were looked at", seen)
	}
}

// A server that asks for certificates takes none of another authority.
func TestClientCertificates(t *testing.T) {
	cert, key := certificate(t, "127.0.0.1")
	client, clientKey := certificate(t, "127.0.0.1")
	other, otherKey := certificate(t, "127.0.0.1")
	h, _ := open(t, Config{Connection: Connection{TLSCert: cert, TLSKey: key, TLSClientCA: client}})
	for name, c := range map[string]struct {
		cert, key string
		ok        bool
	}{"its own": {client, clientKey, true}, "none": {"", "", false}, "another's": {other, otherKey, false}} {
		err := dial(t, link.Config{URL: h.ClientURL(), CA: cert, Cert: c.cert, Key: c.key, As: dialer})
		if (err == nil) != c.ok {
			t.Errorf("with %s: %v", name, err)
		}
	}
	_, err := Start(t.Context(), Config{DataDir: t.TempDir(), Connection: Connection{TLSClientCA: client},
		Logger: testLogger(t)})
	if err == nil || !strings.Contains(err.Error(), "a certificate of its own") {
		t.Error(err)
	}
}
