package main

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

// outputs collects what the requests of a capture made.
type outputs struct {
	mu    sync.Mutex
	items map[int]*output
}

type output struct {
	text   strings.Builder
	pcm    []int16
	rate   int
	images [][]byte
}

func newOutputs() *outputs { return &outputs{items: map[int]*output{}} }

func (o *outputs) add(n int, out omni.Output) {
	if n >= maxKept {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	it := o.items[n]
	if it == nil {
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

// attach writes texts, sounds and images into the run.
func (o *outputs) attach(run *store.Run) ([]protocol.Artifact, error) {
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

// outputPaths are where a session's outputs lie.
func outputPaths(st *session.Status) []string {
	var paths []string
	for _, a := range st.Artifacts {
		if a.Kind == protocol.KindOutput {
			paths = append(paths, filepath.Join(st.RunDir, filepath.FromSlash(a.Name)))
		}
	}
	return paths
}
