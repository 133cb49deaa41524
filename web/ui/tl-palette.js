// The colours of timeline/palette.go, as its test in web/palette_test.go writes them.

// By class, in the server's order: hue, how far names spread it, chroma.
export const CLASSES = [
  [255, 60, 0.05], // other
  [262, 46, 0.12], // operator
  [85, 26, 0.12], // annotation
  [325, 26, 0.09], // runtime
  [172, 70, 0.12], // kernel
  [38, 22, 0.16], // collective
  [105, 16, 0.13], // copy
  [150, 60, 0.045], // python
  [20, 10, 0.04], // overhead
  [255, 0, 0.012], // wait
  [55, 0, 0.15], // prefill
  [240, 0, 0.13], // decode
  [300, 0, 0.13], // denoise
  [350, 40, 0.12], // model
  [130, 0, 0.15], // hand-off
  [95, 30, 0.09], // schedule
];

// Classes whose colours stand for parts of time and memory, and for kinds of steps.
export const PARTS = {
  before: 9, // wait
  communication: 5, // collective
  compute: 4, // kernel
  decode: 11, // decode
  decode_step: 11, // decode
  denoise: 12, // denoise
  denoise_step: 12, // denoise
  generation: 12, // denoise
  handoff: 14, // hand-off
  idle: 9, // wait
  memory: 6, // copy
  mixed: 10, // prefill
  operators: 1, // operator
  other: 8, // overhead
  prefill: 10, // prefill
  sample: 15, // schedule
  schedule: 15, // schedule
  text_encode: 13, // model
  training: 2, // annotation
  unknown: 0, // other
  vae_decode: 13, // model
  vocode: 13, // model
  wait: 9, // wait
};

export const INK = "#0b0f14"; // text on slices
