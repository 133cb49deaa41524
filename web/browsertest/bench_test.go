package browsertest

import (
	"flag"
	"fmt"
	"testing"
)

var framesMB = flag.Int("frames-mb", 3900,
	"text of the trace in which BenchmarkFrames moves, in 10^6 bytes; 3900 are ten million slices")

// frames moves step(i) n times, once a frame, and returns the milliseconds that the frames
// took together and the longest of them.
const frames = `((n, step) => new Promise((done) => {
	let last = 0, longest = 0, first = 0, i = 0;
	const frame = (now) => {
		if (!first) first = now;
		else longest = Math.max(longest, now - last);
		last = now;
		if (i === n) return done([last - first, longest]);
		step(i++);
		requestAnimationFrame(frame);
	};
	requestAnimationFrame(frame);
}))`

// BenchmarkFrames pans and zooms through ten million slices, a step a frame, and compares the
// frames with those of an empty page in the same browser: 1 is as smooth as nothing at all.
func BenchmarkFrames(b *testing.B) {
	const n = 240
	in := browser(b, "")
	empty := openUntil(b, in, "about:blank", "true")
	bare := eval[[]float64](empty, frames+fmt.Sprintf(`(%d, () => {})`, n))
	p := timeline(b, in, generated(b, *framesMB))
	slices := eval[int](p, `kinetoscope.info.slices`)
	moves := map[string]string{
		"pan":  `(() => { const k = kinetoscope, w = k.info.end_ns / 50; k.setWindow(0, w); return (i) => k.setWindow(i * w / 30, w + i * w / 30); })()`,
		"zoom": `(() => { const k = kinetoscope, w = k.info.end_ns; return (i) => { const part = w * 0.98 ** i; k.setWindow(w / 2 - part / 2, w / 2 + part / 2); }; })()`,
	}
	for name, move := range moves {
		b.Run(name, func(b *testing.B) {
			on := &page{t: b, ctx: p.ctx, heard: p.heard}
			for b.Loop() {
				on.until(settled)
				took := eval[[]float64](on, frames+fmt.Sprintf(`(%d, %s)`, n, move))
				b.ReportMetric(took[0]/bare[0], "x-empty-page")
				b.ReportMetric(took[1], "longest-ms")
				b.ReportMetric(took[0]/n, "frame-ms")
				b.ReportMetric(eval[float64](on, `kinetoscope.frameMs`), "drawing-ms")
			}
			b.ReportMetric(float64(slices), "slices")
			b.ReportMetric(0, "ns/op")
		})
	}
}
