// Command omni captures the built-in omni pipeline from a program of one's own: open,
// start, generate, stop.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
)

func main() {
	omni.WorkerMain() // the ranks are processes of this program
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	pipe, err := omni.Open(ctx, omni.Config{Pipeline: "omni"})
	if err != nil {
		return err
	}
	defer pipe.Close()

	if _, err := pipe.StartProfile(ctx, protocol.StartRequest{Prefix: "example"}); err != nil {
		return err
	}
	request := omni.Request{Messages: []omni.Message{{Role: "user", Content: "Say something about trains."}}}
	samples := 0
	for out, err := range pipe.Generate(ctx, request) {
		if err != nil {
			return err
		}
		fmt.Print(out.Text)
		samples += len(out.PCM)
		if out.Finished && out.Type == "audio" {
			fmt.Printf("\n%.1f s of speech, the first after %v\n", float64(samples)/float64(out.SampleRate),
				out.Metrics.TimeToFirstAudio)
		}
	}
	session, err := pipe.StopProfile(ctx)
	if err != nil {
		return err
	}
	for _, stage := range session.Stages {
		for _, rank := range stage.Ranks {
			fmt.Printf("stage %d %s rank %d: %s, %d events, %d files\n", stage.Stage, stage.Name, rank.Rank, rank.State,
				rank.Events, len(rank.Artifacts))
		}
	}
	fmt.Println(session.RunDir)
	return nil
}
