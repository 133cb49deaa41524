package link

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

func pair(t *testing.T, make func() (nkeys.KeyPair, error)) (k nkeys.KeyPair, public string) {
	t.Helper()
	k, err := make()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = k.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return k, public
}

// TestCredentialsFiles: a .creds file lets a connection in where users are JWTs of an
// operator's accounts, and the error names the file where it does not.
func TestCredentialsFiles(t *testing.T) {
	dir := t.TempDir()
	operator, operatorKey := pair(t, nkeys.CreateOperator)
	account, accountKey := pair(t, nkeys.CreateAccount)
	user, userKey := pair(t, nkeys.CreateUser)
	op := jwt.NewOperatorClaims(operatorKey)
	accountJWT, err := jwt.NewAccountClaims(accountKey).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	accounts := &server.MemAccResolver{}
	if err := accounts.Store(accountKey, accountJWT); err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		TrustedOperators: []*jwt.OperatorClaims{op}, AccountResolver: accounts})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	write := func(name string, by nkeys.KeyPair) string {
		token, err := jwt.NewUserClaims(userKey).Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		seed, err := user.Seed()
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.FormatUserConfig(token, seed)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("rank.omni.s0.r0.k0.creds", account)
	nc, err := Config{URL: s.ClientURL(), Creds: good, As: "rank.omni.s0.r0.k0"}.Connect()
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	stranger, _ := pair(t, nkeys.CreateAccount)
	bad := write("other.creds", stranger)
	if _, err := (Config{URL: s.ClientURL(), Creds: bad}).Connect(); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("a user of an unknown account: %v", err)
	}

	if got, err := CredsFor(dir, "rank.omni.s0.r0.k0"); got != good || err != nil {
		t.Errorf("of the directory: %s, %v", got, err)
	}
	if got, err := CredsFor(good, "rank.omni.s1.r0.k0"); got != good || err != nil {
		t.Errorf("one file for all: %s, %v", got, err)
	}
	if _, err := CredsFor(dir, "rank.omni.s1.r0.k0"); err == nil ||
		!strings.Contains(err.Error(), "rank.omni.s1.r0.k0.nk") {
		t.Errorf("a rank without a file: %v", err)
	}
	if got, err := CredsFor("", "x"); got != "" || err != nil {
		t.Errorf("none: %q, %v", got, err)
	}
}
