package browsertest

import "testing"

// TestTabsOfANarrowPanel chooses every tab of the panel where not all of them fit side by side, by keyboard,
// by an address and by turning the device: the chosen one is to be seen whole, and the page stays where it is.
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
	p.quiet()
}
