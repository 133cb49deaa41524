package load

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/model"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// maxKept bounds how many requests' outputs a capture keeps: with --duration the same
// prompts are sent over and over, and their outputs are the same.
const maxKept = 64

// Outputs collects what the first requests of a load made; outputs of requests that repeat these
// are not kept. The zero value is empty; it is safe for concurrent use.
type Outputs struct {
	mu    sync.Mutex
	items map[int]*output // by the request's number; guarded by mu
}

type output struct {
	text   strings.Builder
	pcm    []int16
	rate   int
	images [][]byte
}

func (o *Outputs) add(n int, out omni.Output) {
	if n >= maxKept {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	it := o.items[n]
	if it == nil {
		if o.items == nil {
			o.items = map[int]*output{}
		}
		it = &output{}
		o.items[n] = it
	}
	it.text.WriteString(out.Text)
	it.pcm = append(it.pcm, out.PCM...)
	if out.SampleRate > 0 {
		it.rate = out.SampleRate
	}
	it.images = append(it.images, out.Images...)
}

// outputsDir is where the outputs lie in a run.
const outputsDir = "outputs/"

// Attach writes texts, sounds and images into a run; it is omni.Config.Attach.
func (o *Outputs) Attach(run *store.Run) ([]protocol.Artifact, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	keys := make([]int, 0, len(o.items))
	for k := range o.items {
		keys = append(keys, k)
	}
	sort.Ints(keys)
	var arts []protocol.Artifact
	var errs []error
	put := func(name string, data []byte) {
		a, err := run.Write(outputsDir+name, protocol.KindOutput, bytes.NewReader(data))
		if err != nil {
			errs = append(errs, err)
			return
		}
		arts = append(arts, a)
	}
	for _, k := range keys {
		it := o.items[k]
		name := fmt.Sprintf("request%02d", k)
		if it.text.Len() > 0 {
			put(name+".txt", []byte(it.text.String()+"\n"))
		}
		if len(it.pcm) > 0 {
			put(name+".wav", model.EncodeWAV(it.pcm, it.rate))
		}
		for i, img := range it.images {
			put(fmt.Sprintf("%s_%d.png", name, i), img)
		}
	}
	return arts, errors.Join(errs...)
}

// Paths are where a session's outputs lie.
func Paths(st *session.Status) []string {
	var paths []string
	for _, a := range st.Artifacts {
		if a.Kind == protocol.KindOutput {
			paths = append(paths, filepath.Join(st.RunDir, filepath.FromSlash(a.Name)))
		}
	}
	return paths
}
