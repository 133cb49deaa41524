package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/kinetoscope/kinetoscope/bench/tracegen"
)

// mergedRanks is how many ranks are merged, each of flag mergemb of text.
const mergedRanks = 8

// merged measures what merging ranks into one timeline takes beside unpacking them all, and what writing columns
// takes beside reading alone.
func (b *bench) merged() error {
	if b.mergeMB == 0 {
		return nil
	}
	dir := filepath.Join(b.dir, "ranks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unpack := []string{"gzip", "-dc"}
	for i := range mergedRanks {
		path := filepath.Join(dir, fmt.Sprintf("rank%d.json.gz", i))
		o := tracegen.Options{Bytes: b.mergeMB * 1e6, Rank: i, World: mergedRanks, Seed: uint64(i + 1)}
		if _, err := tracegen.WriteFile(path, o); err != nil {
			return err
		}
		unpack = append(unpack, path)
	}
	timeline := filepath.Join(b.dir, "all.pftrace")
	merge := []string{b.binary, "merge", "--memory", "1GiB", "--force", dir, "-o", timeline}
	own, gz, err := b.pair(unpack, merge)
	if err != nil {
		return err
	}
	row(fmt.Sprintf("merge of %d ranks of %d MB of text to Perfetto, --memory 1GiB", mergedRanks, b.mergeMB), own, gz, "")
	one := unpack[2]
	own, read, err := b.pair([]string{b.binary, "inspect", one},
		[]string{b.binary, "convert", "--force", one, "-o", filepath.Join(b.dir, "one.parquet")})
	if err != nil {
		return err
	}
	row(fmt.Sprintf("Parquet of %d MB of text, beside inspect of it in place of gzip", b.mergeMB), own, read, "")
	return os.RemoveAll(dir)
}
