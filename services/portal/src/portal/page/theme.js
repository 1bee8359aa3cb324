// Before the first paint, so that a chosen theme does not flash; without a choice the browser's preference holds.
(() => {
  try {
    const chosen = localStorage.getItem("flotilla-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; then the preference holds.
  }
})();
