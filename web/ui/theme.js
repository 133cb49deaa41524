// Light and dark: as the reader's system has it, or as chosen here, on every page.

const themes = ["", "dark", "light"];
const KEEP = "kinetoscope-theme";

// bindTheme has the button switch between the reader's colours, dark and light, and calls changed
// then and when the system changes. It returns what calls it now.
export function bindTheme(changed = () => {}) {
  const root = document.documentElement;
  const show = (theme) => { root.dataset.theme = themes.includes(theme) ? theme : ""; };
  show(localStorage.getItem(KEEP) ?? "");
  document.getElementById("theme").addEventListener("click", () => {
    show(themes[(themes.indexOf(root.dataset.theme ?? "") + 1) % themes.length]);
    localStorage.setItem(KEEP, root.dataset.theme);
    changed();
  });
  addEventListener("storage", (event) => { // chosen in another tab
    if (event.key !== KEEP) return;
    show(event.newValue ?? "");
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => changed());
  return changed;
}
