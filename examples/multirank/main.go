// Command multirank runs one prompt on 1, 2 and 4 ranks a stage and shows that the
// text is the same and what the ranks say to each other.
package main

import (
	"context"
	"fmt"
	"log"
	"strings"

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
	for _, ranks := range []int{1, 2, 4} {
		text, err := generate(ctx, ranks)
		if err != nil {
			return err
		}
		fmt.Printf("%d ranks: %q\n", ranks, text)
	}
	return nil
}

func generate(ctx context.Context, ranks int) (string, error) {
	pipe, err := omni.Open(ctx, omni.Config{Pipeline: "omni", TensorParallelSize: ranks})
	if err != nil {
		return "", err
	}
	defer pipe.Close()
	replies, err := pipe.CollectiveRPC(ctx, protocol.CallPing, nil, nil)
	if err != nil {
		return "", err
	}
	for _, stage := range replies {
		fmt.Printf("stage %d %s: %d ranks answer\n", stage.Stage, stage.StageName, len(stage.Ranks))
	}
	var text strings.Builder
	request := omni.Request{
		Messages:   []omni.Message{{Role: "user", Content: "Count to five."}},
		Modalities: []string{"text"},
	}
	for out, err := range pipe.Generate(ctx, request) {
		if err != nil {
			return "", err
		}
		text.WriteString(out.Text)
	}
	return text.String(), nil
}
