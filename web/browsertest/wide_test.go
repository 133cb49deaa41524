package browsertest

import "testing"

// TestWideWindows draws windows with more columns than the server answers with: the page asks for what
// there is and comes to rest, at once and after it has moved.
func TestWideWindows(t *testing.T) {
	in := browser(t, "")
	p := timeline(t, in, generated(t, 4))
	for _, width := range []int64{5900, 7680, 11000} {
		p.frame(width, 600, "dark")
		p.until(settled)
		eval[bool](p, `(kinetoscope.setWindow(kinetoscope.info.end_ns * 0.2, kinetoscope.info.end_ns * 0.6), true)`)
		p.until(settled)
		if !eval[bool](p, `kinetoscope.main.visible().filter((i) => i.node.slices).every((i) => {
			const k = kinetoscope, d = k.store.held.get(i.node.id);
			return d && k.store.fresh(d, k.win, k.main.width) && d.lo <= k.win.t0 && d.hi >= k.win.t1;
		})`) {
			t.Errorf("at %d px the page lacks slices of its window", width)
		}
	}
	p.quiet()
}
