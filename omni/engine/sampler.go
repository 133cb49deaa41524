package engine

// Sampler says how a token is chosen from logits. The zero value is greedy.
//
// The order is vLLM's: Suppress, Temperature, TopK, TopP, then one draw. The draw is a
// function of Seed and the position of the token alone, so that it depends neither on
// the batch nor on the rank.
type Sampler struct {
	Temperature float32 // <= 0: greedy
	TopK        int     // <= 0: all
	TopP        float32 // <= 0 or >= 1: all
	Seed        uint64
	Suppress    []int32 // tokens never chosen, EOS before a minimum length say; at least one token must remain
}
