package hub

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// secretFile, in DataDir, keeps what credentials are derived from, so that ranks that
	// were given theirs find a restarted hub that knows them.
	secretFile  = "nats-secret"
	secretBytes = 32
	// answerWithin bounds how long after a request its answer may be published: longer than
	// the longest method, collect.
	answerWithin = 15 * time.Minute
)

// access decides what identity a connection to the embedded server has and what that may publish
// and receive. A connection shows one of three NATS tokens:
//
//   - the hub's own, which never leaves its process and opens everything;
//   - a credential, which is of a single rank or of a pipeline's agents: the identity, a dot, and a code
//     that can only be computed with the secret. It opens what belongs to that identity;
//   - the join token, for ranks that are started by hand: such a connection names an identity in its
//     connection name, and may do only what that identity may.
type access struct {
	secret []byte
	join   string
	own    string
}

// newAccess keeps its secret in dir.
func newAccess(dir, join string) (*access, error) {
	a := &access{join: join, own: rand.Text()}
	path := filepath.Join(dir, secretFile)
	text, err := os.ReadFile(path)
	if err == nil {
		a.secret, err = base64.RawURLEncoding.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(a.secret) != secretBytes {
			return nil, fmt.Errorf("%s is no secret of a hub: remove the file for a new one", path)
		}
		return a, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("secret of the hub: %w", err)
	}
	a.secret = make([]byte, secretBytes)
	rand.Read(a.secret)
	if err := writeSecret(path, base64.RawURLEncoding.EncodeToString(a.secret)); err != nil {
		return nil, fmt.Errorf("secret of the hub: %w", err)
	}
	return a, nil
}

// CredentialOf is Hub.Credential of the hub whose DataDir is dir, running or not.
func CredentialOf(dir, identity string) (string, error) {
	if permissions(identity) == nil {
		return "", badIdentity(identity)
	}
	a, err := newAccess(dir, "")
	if err != nil {
		return "", err
	}
	return a.credential(identity), nil
}

func badIdentity(identity string) error {
	return fmt.Errorf("identity %q: want rank.<pipeline>.s<stage>.r<replica>.k<rank> or agent.<pipeline>", identity)
}

// writeSecret makes a file that its owner alone can read. It must not be there yet.
func writeSecret(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	return errors.Join(err, f.Close())
}

// credential is the token that opens what belongs to identity, and no more.
func (a *access) credential(identity string) string {
	mac := hmac.New(sha256.New, a.secret)
	mac.Write([]byte(identity))
	return identity + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Check lets a connection in and binds it to its identity. It implements server.Authentication.
func (a *access) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	identity, hub := a.identify(o.Token, o.Name)
	if hub {
		c.RegisterUser(&server.User{Username: "hub"})
		return true
	}
	p := permissions(identity)
	if p == nil {
		return false
	}
	c.RegisterUser(&server.User{Username: identity, Permissions: p})
	return true
}

// identify returns the identity of a connection that shows the token; hub is true for the hub
// itself. name is the connection's name.
func (a *access) identify(token, name string) (identity string, hub bool) {
	if same(token, a.own) {
		return "", true
	}
	if same(token, a.join) {
		return name, false
	}
	if i := strings.LastIndexByte(token, '.'); i > 0 && same(token, a.credential(token[:i])) {
		return token[:i], false
	}
	return "", false
}

func same(a, b string) bool { return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// Permissions are what the user of an identity needs on a NATS cluster that is not the hub's
// own, for its configuration.
func Permissions(identity string) (*server.Permissions, error) {
	p := permissions(identity)
	if p == nil {
		return nil, badIdentity(identity)
	}
	return p, nil
}

// permissions returns what an identity may publish and receive; nil if the text is not an identity.
func permissions(identity string) *server.Permissions {
	kind, rest, _ := strings.Cut(identity, ".")
	p := &server.Permissions{Publish: &server.SubjectPermission{}, Subscribe: &server.SubjectPermission{},
		Response: &server.ResponsePermission{MaxMsgs: 1, Expires: answerWithin}}
	publish := func(s ...string) { p.Publish.Allow = append(p.Publish.Allow, s...) }
	subscribe := func(s ...string) { p.Subscribe.Allow = append(p.Subscribe.Allow, s...) }
	key, bucket := "", ""
	switch kind {
	case "rank":
		id, err := protocol.ParseRankKey(rest)
		if err != nil {
			return nil
		}
		key, bucket = rest, id.ArtifactsBucket()
		publish(protocol.From(protocol.OutputSubject(id.Pipeline, "*"), id.Sender()), "ks.v1.data."+id.Pipeline+".*.*."+
			id.Sender())
		publish(readBucket(protocol.BucketDeploy, id.Pipeline)...)
		peer := fmt.Sprintf("%s.s%d.r%d.*", id.Pipeline, id.Stage, id.Replica)
		publish(readBucket(protocol.BucketRendezvous, peer)...)
		publish("$KV." + protocol.BucketRendezvous + "." + key)
		subscribe(protocol.FromAll(protocol.DataSubject(id.Pipeline, id.Stage, id.Replica)))
	case "agent":
		if protocol.ValidatePipelineName(rest) != nil {
			return nil
		}
		key, bucket = rest+".*.*.*", protocol.AgentBucket(rest)
		tasks := protocol.WorkStream(rest)
		publish(protocol.WorkDoneSubject(rest, "*"), "$JS.API.CONSUMER.INFO."+tasks+".*",
			"$JS.API.CONSUMER.MSG.NEXT."+tasks+".*", "$JS.ACK."+tasks+".>")
		subscribe(protocol.WorkFindSubject(rest, "*"))
	default:
		return nil
	}
	publish("ks.v1.event."+key, "ks.v1.rank."+key+".*", "$KV."+protocol.BucketRanks+"."+key)
	publish(readBucket(protocol.BucketRanks, key)...)
	store := "OBJ_" + bucket
	publish("$O."+bucket+".>", "$JS.API.STREAM.INFO."+store, "$JS.API.STREAM.PURGE."+store,
		"$JS.API.STREAM.MSG.GET."+store, "$JS.API.DIRECT.GET."+store, "$JS.API.DIRECT.GET."+store+".>")
	subscribe("ks.v1.rank."+key+".*", protocol.HubBeatWildcard, "$SRV.>", protocol.InboxPrefix(identity)+".>")
	return p
}

// readBucket is what a client publishes to read a key of a KV bucket.
func readBucket(bucket, key string) []string {
	stream := "KV_" + bucket
	return []string{"$JS.API.STREAM.INFO." + stream, "$JS.API.DIRECT.GET." + stream + ".$KV." + bucket + "." + key}
}
