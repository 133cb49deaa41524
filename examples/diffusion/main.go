// Command diffusion captures two images drawn in one batch, and only the denoise loop
// of the three stages.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

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
	pipe, err := omni.Open(ctx, omni.Config{Pipeline: "diffusion"})
	if err != nil {
		return err
	}
	defer pipe.Close()

	if _, err := pipe.StartProfile(ctx, protocol.StartRequest{Prefix: "denoise-only", Stages: []int{1}}); err != nil {
		return err
	}
	request := omni.Request{
		Messages: []omni.Message{{Role: "user", Content: "a lighthouse at dawn"}},
		Image:    omni.Image{N: 2, Width: 64, Height: 64, Steps: 10, Guidance: 4},
	}
	for out, err := range pipe.Generate(ctx, request) {
		if err != nil {
			return err
		}
		for i, png := range out.Images {
			name := fmt.Sprintf("lighthouse%d.png", i)
			if err := os.WriteFile(name, png, 0o644); err != nil {
				return err
			}
			fmt.Println(name, len(png), "bytes")
		}
	}
	session, err := pipe.StopProfile(ctx)
	if err != nil {
		return err
	}
	for _, rank := range session.Stages[0].Ranks {
		fmt.Printf("%s rank %d: %s, %d denoise steps\n", rank.StageName, rank.Rank, rank.State, rank.Iterations)
	}
	fmt.Println(session.RunDir)
	return nil
}
