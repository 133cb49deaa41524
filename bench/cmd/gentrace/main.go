// Command gentrace writes a trace of any size in Kineto's layout: gentrace -mb 1000
// out.json.gz.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/kinetoscope/kinetoscope/bench/tracegen"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gentrace:", err)
		os.Exit(1)
	}
}

func run() error {
	mb := flag.Int64("mb", 100, "size of the text in 10^6 bytes")
	rank := flag.Int("rank", 0, "rank")
	world := flag.Int("world", 1, "ranks in all")
	python := flag.Bool("python", false, "write frames of Python")
	memory := flag.Bool("memory", false, "write allocations")
	unlike := flag.Bool("unlike", false, "write a random text in every slice's arguments")
	seed := flag.Uint64("seed", 1, "seed of what is random")
	flag.Parse()
	if flag.NArg() != 1 {
		return fmt.Errorf("expected one file name, found %d", flag.NArg())
	}
	n, err := tracegen.WriteFile(flag.Arg(0), tracegen.Options{Bytes: *mb * 1e6, Rank: *rank, World: *world,
		Python: *python, Memory: *memory, Unlike: *unlike, Seed: *seed})
	if err != nil {
		return err
	}
	fmt.Printf("%d bytes, %d slices, %d flows, %d instants\n", n.Bytes, n.Slices, n.Flows, n.Instants)
	return nil
}
