package model_test

import (
	"context"
	"fmt"
	"log"

	"github.com/kinetoscope/kinetoscope/omni/model"
)

// One prompt through the built-in thinker, token by token.
func ExampleLLM_Step() {
	ctx := context.Background()
	m, err := model.OpenLLM(ctx, nil, model.Options{Model: "builtin/thinker", LoadFormat: model.LoadDummy})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = m.Close(nil) }()
	tok, err := model.NewTokenizer(m.VocabSize())
	if err != nil {
		log.Fatal(err)
	}
	step := model.SeqStep{
		Seq:      1,
		Tokens:   tok.EncodeChat([]model.ChatTurn{{Role: "user", Content: "Where does the river end?"}}),
		Sampling: model.Sampler{Temperature: 0.8, TopP: 0.95, Seed: 1, Suppress: tok.Unprintable()},
	}
	text := tok.NewDetokenizer()
	words := 0
	for range 24 {
		out, err := m.Step(ctx, nil, []model.SeqStep{step})
		if err != nil {
			log.Fatal(err)
		}
		if out[0].Token == tok.EOS() {
			break
		}
		if text.Push(out[0].Token) != "" {
			words++
		}
		step.Tokens = []int32{out[0].Token}
	}
	m.Free(nil, 1)
	fmt.Println(words > 0, m.KV().Seqs)
	// Output: true 0
}
