package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/omni/collective"
	"github.com/kinetoscope/kinetoscope/omni/model/safetensors"
)

// openAny opens the model of one kind.
func openAny(kind string, o Options) (interface{ MemoryBytes() int64 }, error) {
	ctx := context.Background()
	switch kind {
	case "llm":
		return OpenLLM(ctx, nil, o)
	case "vocoder":
		return OpenVocoder(ctx, nil, o)
	case "text":
		return OpenTextEncoder(ctx, nil, o)
	case "dit":
		return OpenDiT(ctx, nil, o)
	}
	return OpenVAE(ctx, nil, o)
}

// fakeGroup has a size and nothing else.
type fakeGroup struct {
	collective.Group
	size int
}

func (g fakeGroup) Size() int { return g.size }
func (g fakeGroup) Rank() int { return 0 }

func TestConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		kind, model string
		ranks       int
		set         map[string]any
		want        []string
	}{
		{"llm", "thinker", 1, map[string]any{"hidden_size": nil},
			[]string{"builtin/thinker/config.json: hidden_size: missing or 0"}},
		{"llm", "thinker", 1, map[string]any{"hidden_size": -4, "vocab_size": 0},
			[]string{"hidden_size: -4", "vocab_size: missing"}},
		{"llm", "thinker", 1, map[string]any{"hidden_size": "big"}, []string{"config.json: field hidden_size: string"}},
		{"llm", "thinker", 1, map[string]any{"hidden_size": 1 << 40},
			[]string{"hidden_size: 1099511627776: want 1 to"}},
		{"llm", "thinker", 1, map[string]any{"head_dim": 7}, []string{"head_dim: 7 is odd"}},
		{"llm", "thinker", 1, map[string]any{"num_key_value_heads": 3},
			[]string{"num_key_value_heads: 3 does not divide num_attention_heads 8"}},
		{"llm", "thinker", 4, map[string]any{"num_attention_heads": 6, "num_key_value_heads": 2},
			[]string{"num_attention_heads: 6 cannot be split in 4"}},
		{"llm", "thinker", 2, map[string]any{"num_attention_heads": 6, "num_key_value_heads": 3},
			[]string{"num_key_value_heads: 3 heads can neither be split nor copied over 2 ranks"}},
		{"llm", "thinker", 3, nil, []string{"tensor_parallel_size: 3 ranks: want 1, 2 or 4"}},
		{"llm", "thinker", 1, map[string]any{"intermediate_size": 1026},
			[]string{"intermediate_size: 1026 cannot be split in 4"}},
		{"llm", "thinker", 1, map[string]any{"hidden_act": "relu"}, []string{`hidden_act: "relu"`}},
		{"llm", "thinker", 1, map[string]any{"rms_norm_eps": -1}, []string{"rms_norm_eps: -1"}},
		{"llm", "thinker", 1, map[string]any{"vocab_size": 1 << 22, "hidden_size": 1 << 16},
			[]string{"size: ", "parameters take more than"}},
		{"vocoder", "code2wav", 1, map[string]any{"upsample_rates": []int{}}, []string{"upsample_rates: 0 of them"}},
		{"vocoder", "code2wav", 1, map[string]any{"upsample_kernel_sizes": []int{20, 16, 12, 5}},
			[]string{"upsample_kernel_sizes[3]: 5: want 4"}},
		{"vocoder", "code2wav", 1, map[string]any{"upsample_initial_channel": 40},
			[]string{"upsample_initial_channel: 40"}},
		{"vocoder", "code2wav", 1, map[string]any{"resblock_dilation_sizes": [][]int{{0}, {1}}},
			[]string{"resblock_dilation_sizes[0]: missing or 0"}},
		{"vocoder", "code2wav", 1, map[string]any{"sampling_rate": 0}, []string{"sampling_rate: missing"}},
		{"vocoder", "code2wav", 1, map[string]any{"leaky_relu_slope": 2}, []string{"leaky_relu_slope: 2"}},
		{"text", "text_encoder", 1, map[string]any{"num_attention_heads": 5},
			[]string{"num_attention_heads: 5 does not divide hidden_size 192"}},
		{"text", "text_encoder", 1, map[string]any{"vocab_size": 100}, []string{"vocab_size", "100"}},
		{"dit", "dit", 1, map[string]any{"sample_size": 30, "patch_size": 4},
			[]string{"sample_size: 30 is no multiple of patch_size 4"}},
		{"dit", "dit", 1, map[string]any{"out_channels": 8}, []string{"out_channels: 8"}},
		{"dit", "dit", 4, map[string]any{"num_attention_heads": 2},
			[]string{"num_attention_heads: 2 cannot be split in 4"}},
		{"vae", "vae", 1, map[string]any{"norm_num_groups": 6}, []string{"norm_num_groups: 6"}},
		{"vae", "vae", 1, map[string]any{"mid_block_add_attention": nil}, []string{"mid_block_add_attention"}},
		{"vae", "vae", 1, map[string]any{"block_out_channels": []int{16, 20}},
			[]string{"block_out_channels[1]: 20 cannot be split in 8"}},
	} {
		_, err := openAny(c.kind, Options{Model: "builtin/" + c.model, Overrides: c.set,
			Group: fakeGroup{size: c.ranks}})
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s %v: error %v is no ErrConfig", c.model, c.set, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s %v: error %v, want %q", c.model, c.set, err, w)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	broken := filepath.Join(dir, "broken")
	for _, d := range []string{empty, broken} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(broken, ConfigFile), []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Model: "builtin/nothing"}, "builtin/thinker"},
		{Options{Model: "builtin/../builtin.go"}, "no such built-in model"},
		{Options{Model: filepath.Join(dir, "gone")}, "no such file"},
		{Options{Model: filepath.Join(broken, ConfigFile)}, "not a directory"},
		{Options{Model: empty}, "config.json"},
		{Options{Model: broken}, "unexpected end of JSON"},
		{Options{Model: "builtin/thinker", LoadFormat: "gguf"}, `load_format "gguf"`},
		{Options{Model: "builtin/thinker", LoadFormat: LoadSafetensors}, "no *.safetensors file"},
		{Options{Model: "builtin/thinker", KVBlocks: -1}, "kv blocks -1"},
	} {
		if _, err := OpenLLM(context.Background(), nil, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.o, err, c.want)
		}
	}
}

func TestBuiltins(t *testing.T) {
	kinds := map[string]string{"thinker": "llm", "talker": "llm", "code2wav": "vocoder", "text_encoder": "text",
		"dit": "dit", "vae": "vae"}
	for _, name := range Builtins() {
		kind, ok := kinds[strings.TrimPrefix(name, builtinPrefix)]
		if !ok {
			t.Errorf("unknown built-in %s", name)
			continue
		}
		for _, size := range []int{1, 2, 4} {
			if _, err := openAny(kind, Options{Model: name, Group: fakeGroup{size: size}}); err != nil {
				t.Errorf("%s on %d ranks: %v", name, size, err)
			}
		}
	}
	if len(Builtins()) != len(kinds) {
		t.Errorf("built-ins %v", Builtins())
	}
}

// recorder of tensors: what a model asks of its source.
type asked struct {
	tensors
	list []safetensors.Tensor
}

func (a *asked) tensor(name string, shape ...int) ([]float32, error) {
	x, err := a.tensors.tensor(name, shape...)
	a.list = append(a.list, safetensors.Tensor{Name: name, DType: "F32", Shape: shape,
		Data: append([]float32(nil), x...)})
	return x, err
}

// writeModel writes a directory with the weights that a dummy model would have.
func writeModel(t *testing.T, o Options, drop string) string {
	t.Helper()
	l := &LLM{}
	m, err := open(context.Background(), nil, o, &l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.model, l.heads, l.kvHeads = m, l.cfg.NumAttentionHeads, l.cfg.NumKeyValueHeads
	a := &asked{tensors: m.src}
	m.src = a
	if err := l.loadWeights(context.Background()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	raw, err := json.Marshal(l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	half := len(a.list) / 2
	index := map[string]string{}
	files := map[string][]byte{ConfigFile: raw}
	for i, part := range [][]safetensors.Tensor{a.list[:half], a.list[half:]} {
		var b bytes.Buffer
		name := fmt.Sprintf("model-%d-of-2.safetensors", i+1)
		var keep []safetensors.Tensor
		for _, x := range part {
			if x.Name != drop {
				keep = append(keep, x)
				index[x.Name] = name
			}
		}
		if err := safetensors.Write(&b, nil, keep); err != nil {
			t.Fatal(err)
		}
		files[name] = b.Bytes()
	}
	if files[safetensors.IndexFile], err = json.Marshal(map[string]any{"weight_map": index}); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A model from files is the model that was written, on any number of ranks.
func TestLLMFromSafetensors(t *testing.T) {
	o := Options{Model: "builtin/talker", Seed: 7, Overrides: tinyLLM}
	dir := writeModel(t, o, "")
	whole, _ := testSeqs()
	m, err := openTiny(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(m, whole, 6, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 2} {
		for r, got := range onRanks(t, size, func(g collective.Group) (string, error) {
			m, err := OpenLLM(context.Background(), nil, Options{Model: dir, LoadFormat: LoadSafetensors, Group: g})
			if err != nil {
				return "", err
			}
			x, err := generate(m, whole, 6, true)
			return x.String(), err
		}) {
			if got != want.String() {
				t.Errorf("rank %d of %d differs from the dummy model it was written from", r, size)
			}
		}
	}
	_, err = OpenLLM(context.Background(), nil, Options{Model: writeModel(t, o, "model.layers.1.mlp.down_proj.weight")})
	if err == nil || !strings.Contains(err.Error(), `tensor "model.layers.1.mlp.down_proj.weight" is missing`) ||
		!strings.Contains(err.Error(), "[64 96]") {
		t.Errorf("a tensor is missing: %v", err)
	}
	_, err = OpenLLM(context.Background(), nil, Options{Model: dir,
		Overrides: map[string]any{"intermediate_size": 128}})
	if err == nil || !strings.Contains(err.Error(), "has shape [96 64], want [128 64]") {
		t.Errorf("a shape is wrong: %v", err)
	}
}
