package drivertest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Wire is a rank.Handler that asks a rank in another process over NATS, as a hub does.
type Wire struct {
	NC  *nats.Conn
	ID  protocol.RankID
	Dir string // where collected files are fetched to
}

func ask[Out any](ctx context.Context, w *Wire, m protocol.Method, in any) (out Out, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	reply, err := w.NC.RequestWithContext(ctx, w.ID.Subject(m), body)
	if err != nil {
		return out, err
	}
	if why := reply.Header.Get(micro.ErrorHeader); why != "" {
		return out, errors.New(why)
	}
	return out, json.Unmarshal(reply.Data, &out)
}

// Arm implements rank.Handler.
func (w *Wire) Arm(ctx context.Context, r protocol.ArmRequest) (protocol.RankStatus, error) {
	return ask[protocol.RankStatus](ctx, w, protocol.MethodArm, r)
}

// Start implements rank.Handler.
func (w *Wire) Start(ctx context.Context, r protocol.BeginRequest) (protocol.RankStatus, error) {
	return ask[protocol.RankStatus](ctx, w, protocol.MethodStart, r)
}

// Stop implements rank.Handler.
func (w *Wire) Stop(ctx context.Context, r protocol.StopRequest) (protocol.RankStatus, error) {
	return ask[protocol.RankStatus](ctx, w, protocol.MethodStop, r)
}

// Abort implements rank.Handler.
func (w *Wire) Abort(ctx context.Context, r protocol.AbortRequest) (protocol.RankStatus, error) {
	return ask[protocol.RankStatus](ctx, w, protocol.MethodAbort, r)
}

// Status implements rank.Handler. A rank that does not answer is in no state.
func (w *Wire) Status(ctx context.Context) protocol.RankStatus {
	s, err := ask[protocol.RankStatus](ctx, w, protocol.MethodStatus, struct{}{})
	if err != nil {
		s.Reason = err.Error()
	}
	return s
}

// Call implements rank.Handler.
func (w *Wire) Call(ctx context.Context, r protocol.CallRequest) (any, error) {
	return ask[protocol.CallReply](ctx, w, protocol.MethodCall, r)
}

// Collect implements rank.Handler: what the rank uploads is fetched.
func (w *Wire) Collect(ctx context.Context, r protocol.CollectRequest) (protocol.RankStatus, rank.Handover, error) {
	var over rank.Handover
	js, err := jetstream.New(w.NC)
	if err != nil {
		return protocol.RankStatus{}, over, err
	}
	r.Bucket = w.ID.ArtifactsBucket()
	store, err := js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: r.Bucket})
	if err != nil {
		return protocol.RankStatus{}, over, err
	}
	s, err := ask[protocol.RankStatus](ctx, w, protocol.MethodCollect, r)
	if err != nil {
		return s, over, err
	}
	for _, a := range s.Artifacts {
		path := filepath.Join(w.Dir, r.Session+"_"+filepath.Base(a.Name))
		if err := fetch(ctx, store, a.Object, path); err != nil {
			return s, over, err
		}
		over.Files = append(over.Files, rank.File{Name: a.Name, Kind: a.Kind, Path: path})
	}
	return s, over, nil
}

func fetch(ctx context.Context, store jetstream.ObjectStore, object, path string) (err error) {
	o, err := store.Get(ctx, object)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return errors.Join(err, o.Close())
	}
	_, err = io.Copy(f, o)
	return errors.Join(err, o.Close(), f.Close())
}

var _ rank.Handler = (*Wire)(nil)
