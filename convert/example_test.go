package convert_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// record is a program that records itself as one rank of a stage.
func record(path, stage string, rank int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rec := profiler.New(profiler.Config{})
	err = rec.Start(profiler.StartOptions{Out: f, Meta: map[string]string{
		protocol.MetaStage: stage, protocol.MetaStageID: "0", protocol.MetaRank: fmt.Sprint(rank),
	}})
	if err != nil {
		return err
	}
	rec.Track("scheduler").Begin(profiler.Intern("decode_step"), profiler.CategoryAnnotation).End()
	_, err = rec.Stop()
	return err
}

// Makes the artifacts of two ranks' recordings, and their timeline.
func Example() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, to := context.Background(), convert.Dir(filepath.Join(dir, "run"))
	var ranks []convert.RankInput
	for rank := range 2 {
		path := filepath.Join(dir, fmt.Sprint(rank)+format.Ext)
		if err := record(path, "thinker", rank); err != nil {
			log.Fatal(err)
		}
		id := protocol.RankID{Pipeline: "mine", Rank: rank}
		res, err := convert.Recording(ctx, path, to, convert.Options{Rank: id, StageName: "thinker"})
		if err != nil {
			log.Fatal(err)
		}
		for _, a := range res.Artifacts {
			fmt.Println(a.Kind, a.Name)
		}
		ranks = append(ranks, convert.RankInput{Rank: id, StageName: "thinker", Trace: res.Trace})
	}
	timeline, err := convert.Merge(ctx, ranks, to)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(timeline.Artifact.Kind, timeline.Artifact.Name, "of", len(timeline.Ranks), "ranks")
	// Output:
	// ops stage0_thinker/ops_rank0.xlsx
	// table stage0_thinker/profiler_out_0.txt
	// stacks stage0_thinker/stacks_cpu_rank0.txt
	// trace stage0_thinker/trace_rank0.json.gz
	// ops stage0_thinker/ops_rank1.xlsx
	// table stage0_thinker/profiler_out_1.txt
	// stacks stage0_thinker/stacks_cpu_rank1.txt
	// trace stage0_thinker/trace_rank1.json.gz
	// timeline timeline.pftrace of 2 ranks
}
