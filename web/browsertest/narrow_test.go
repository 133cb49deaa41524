package browsertest

import (
	"context"
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// TestTabsOfANarrowPanel chooses every tab of the panel where not all of them fit side by side, by keyboard,
// by an address and by turning the device: the chosen one is to be seen whole, and the page stays where it is.
// Tab leads through all of the timeline and its report there.
func TestTabsOfANarrowPanel(t *testing.T) {
	in := browser(t, "")
	p := timeline(t, in, generated(t, 1))
	p.frame(360, 780, "light")
	p.until(settled)
	const outside = `(() => {
		const strip = document.querySelector("#tabs").getBoundingClientRect();
		const tab = document.querySelector('#tabs [aria-selected="true"]'), box = tab.getBoundingClientRect();
		const moved = [...document.querySelectorAll("html, body, #panel")].some((e) => e.scrollLeft || e.scrollTop);
		return (box.left < strip.left || box.right > strip.right ? tab.textContent + " is outside" : "") + (moved ? "the page moved" : "");
	})()`
	check := func(how string) {
		t.Helper()
		eval[bool](p, twoFrames)
		if bad := eval[string](p, outside); bad != "" {
			t.Errorf("%s: %s", how, bad)
		}
	}
	tabs := eval[int](p, `document.querySelectorAll("#tabs button").length`)
	if !eval[bool](p, `document.querySelector("#tabs").scrollWidth > document.querySelector("#tabs").clientWidth + 20`) {
		t.Fatal("all tabs fit, the test shows nothing")
	}
	eval[bool](p, `(document.querySelector('#tabs [aria-selected="true"]').focus({ preventScroll: true }), true)`)
	for range tabs {
		p.press("\u0303") // ArrowRight
		check("right")
		if !eval[bool](p, `document.activeElement.matches('#tabs [aria-selected="true"]')`) {
			t.Error("the chosen tab has not the focus")
		}
	}
	for range tabs {
		p.press("\u0302") // ArrowLeft
		check("left")
	}
	p.frame(1200, 780, "light")
	eval[bool](p, `(kinetoscope.panel.show("notes"), true)`)
	p.frame(360, 780, "light")
	check("narrower")
	eval[bool](p, `(location.hash = "#tab=slice", true)`)
	p.until(`kinetoscope.panel.tab === "slice"`)
	check("by an address")
	p.walk()
	check("after a walk")
	p.press("v")
	p.until(settled + ` && kinetoscope.view === "report"`)
	p.walk()
	p.quiet()
}

// TestNarrowByTouch works a narrow window without keys: no control is under another or too small for a finger, the
// whole grip of the panel is to be had, also its half beside the tracks, and buttons lead to the slices of the same
// name.
func TestNarrowByTouch(t *testing.T) {
	in := browser(t, "")
	p := timeline(t, in, generated(t, 1))
	p.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		small := emulation.SetDeviceMetricsOverrideParams{Width: 360, Height: 560, DeviceScaleFactor: 1, Mobile: true}
		if _, err := cdp.Call(ctx, tab, emulation.SetDeviceMetricsOverride, small); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, tab, emulation.SetTouchEmulationEnabled,
			emulation.SetTouchEmulationEnabledParams{Enabled: true})
		return err
	}))
	p.until(`innerWidth === 360 && matchMedia("(pointer: coarse)").matches`)
	p.until(settled)
	eval[bool](p, twoFrames)
	if covered := eval[[]string](p, `[...document.querySelectorAll("header *, #tabs *, #corner *, #grip")].filter((e) => e.tabIndex >= 0 && e.checkVisibility()).filter((e) => {
		const r = e.getBoundingClientRect(), strip = e.closest("#tabs")?.getBoundingClientRect();
		if (strip && r.left + r.width / 2 > strip.right) return false; // scrolled to when it is chosen
		const top = document.elementFromPoint(r.left + r.width / 2, r.top + r.height / 2);
		return !(e.contains(top) || top?.closest("label")?.contains(e)) || Math.min(r.width, r.height) < 18;
	}).map((e) => e.outerHTML.slice(0, 80))`); len(covered) > 0 {
		t.Errorf("out of a finger's reach: %q", covered)
	}
	p.until(`kinetoscope.main.el.scrollHeight > kinetoscope.main.el.clientHeight + 20`) // so that the tracks take what is theirs
	grip := eval[[]float64](p, `(() => { const r = document.querySelector("#grip").getBoundingClientRect(); return [r.left, r.top + 3, r.width]; })()`)
	high := eval[float64](p, `document.querySelector("#panel").clientHeight`)
	p.touch(input.DispatchTouchEventTypeTouchStart, grip, 0.5)
	for range 4 {
		grip[1] -= 25
		p.touch(input.DispatchTouchEventTypeTouchMove, grip, 0.5)
	}
	p.touch(input.DispatchTouchEventTypeTouchEnd, grip)
	p.until(fmt.Sprintf(`document.querySelector("#panel").clientHeight > %f`, high+60))
	p.until(settled)
	eval[bool](p, `(kinetoscope.search(document.querySelector("#query").value = "aten::"), true)`)
	p.until(settled + ` && document.querySelector("#body .opname .link")`)
	press := func(what string) { t.Helper(); p.do(chromedp.Click(chromedp.CSS(what))) }
	press("#body .opname .link")
	p.until(`kinetoscope.selected?.detail`)
	eval[bool](p, `(kinetoscope.panel.show("slice"), true)`)
	p.until(settled)
	id := eval[string](p, `kinetoscope.selected.id`)
	press(`.same [data-back=""]`)
	p.until(fmt.Sprintf(`kinetoscope.selected?.id !== %q`, id))
	press(`.same [data-back="1"]`)
	p.until(fmt.Sprintf(`kinetoscope.selected?.id === %q`, id))
	p.until(settled)
	p.quiet()
}
