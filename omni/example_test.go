package omni_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Captures the built-in omni pipeline. In a program of its own main begins with
// omni.WorkerMain(), for the ranks are processes of that program.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "runs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	pipe, err := omni.Open(ctx, omni.Config{Pipeline: "omni", RunsDir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer pipe.Close()
	if _, err := pipe.StartProfile(ctx, protocol.StartRequest{Prefix: "example"}); err != nil {
		log.Fatal(err)
	}
	short := 8
	request := omni.Request{
		Messages: []omni.Message{{Role: "user", Content: "What does a horse do?"}},
		Sampling: omni.Sampling{MaxTokens: &short},
	}
	for out, err := range pipe.Generate(ctx, request) {
		if err != nil {
			log.Fatal(err)
		}
		if out.Finished {
			fmt.Println("made", out.Type)
		}
	}
	session, err := pipe.StopProfile(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("session is", session.State)
	for _, stage := range session.Stages {
		fmt.Println(stage.Stage, stage.Name, "ranks:", len(stage.Ranks))
	}
	// Unordered output:
	// made text
	// made audio
	// session is complete
	// 0 thinker ranks: 2
	// 1 talker ranks: 1
	// 2 code2wav ranks: 1
}

// A plan says what is wrong before any process is started.
func ExampleConfig_Plan() {
	plan, err := omni.Config{Pipeline: "diffusion", NoLaunch: true}.Plan(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	draw := func(width int) omni.Request {
		return omni.Request{Messages: []omni.Message{{Role: "user", Content: "a horse"}},
			Image: omni.Image{Width: width, Height: 64}}
	}
	fmt.Println(plan.CheckRequests([]omni.Request{draw(64), draw(63)}))
	request := protocol.StartRequest{Stages: []int{1, 7}}
	fmt.Println(request.CheckStages(plan.Pipeline.Refs()))
	// Output:
	// prompt 2: size 63x64: width and height are multiples of 16 up to 512
	// stages[1]: there is no stage 7; the stages are 0 (text_encoder), 1 (dit), 2 (vae)
}
