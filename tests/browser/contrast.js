// Lowest contrast of text against what is behind it, for each kind of element, as WCAG counts it.
() => {
  const channels = colour => colour.match(/[\d.]+/g).map(Number);
  const linear = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = channels(getComputedStyle(e).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const e of document.querySelectorAll("main *")) {
    const says = [...e.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!says || !e.checkVisibility() || e.closest("svg, .wipe-stage")) continue;
    const pair = [light(channels(getComputedStyle(e).color)), light(behind(e))];
    const kind = e.tagName + "." + e.className;
    found[kind] = Math.min(found[kind] ?? 99, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05));
  }
  return found;
}
