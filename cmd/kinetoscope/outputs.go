package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/engine"
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

// write puts texts, sounds and images into dir and returns their paths.
func (o *outputs) write(dir string) ([]string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	keys := make([]int, 0, len(o.items))
	for k := range o.items {
		keys = append(keys, k)
	}
	sort.Ints(keys)
	if len(keys) == 0 {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var paths []string
	put := func(name string, data []byte) error {
		path := filepath.Join(dir, name)
		paths = append(paths, path)
		return os.WriteFile(path, data, 0o644)
	}
	for _, k := range keys {
		it := o.items[k]
		name := fmt.Sprintf("request%02d", k)
		if it.text.Len() > 0 {
			if err := put(name+".txt", []byte(it.text.String()+"\n")); err != nil {
				return nil, err
			}
		}
		if len(it.pcm) > 0 {
			if err := put(name+".wav", engine.EncodeWAV(it.pcm, it.rate)); err != nil {
				return nil, err
			}
		}
		for i, img := range it.images {
			if err := put(fmt.Sprintf("%s_%d.png", name, i), img); err != nil {
				return nil, err
			}
		}
	}
	return paths, nil
}
