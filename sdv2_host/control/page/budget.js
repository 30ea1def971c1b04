// Where the time from capture to output goes: a bar and a table of its parts, and one sentence.

import { $, element, fill, setText } from "/dom.js";

const COLUMNS = ["mean", "p50", "p95", "p99"];

/** The bar shows means: they add up to the latency, which percentiles do not. */
export function showBudget(budget) {
  const parts = Object.entries(budget?.stages_ms ?? {}).filter(([, ms]) => ms.p99 > 0);
  const whole = parts.reduce((sum, [, ms]) => sum + Math.max(ms.mean, 0), 0);
  const names = parts.map(([name]) => name);
  setText($("budget-text"), budget?.says ?? "");
  $("budget").hidden = !parts.length;
  fill($("budget-bar"), names, (_, index) => element("i", { className: `swatch-${index % 8}` }));
  fill($("budget-rows"), names, (name, index) =>
    element("tr", { className: `swatch-${index % 8}` },
      element("th", { scope: "row", textContent: name }), ...COLUMNS.map(() => element("td"))));
  parts.forEach(([name, ms], index) => {
    const row = $("budget-rows").children[index];
    $("budget-bar").children[index].style.width = `${(100 * Math.max(ms.mean, 0)) / whole}%`;
    row.dataset.worst = String(name === budget.slowest);
    COLUMNS.forEach((column, at) => setText(row.children[at + 1], ms[column].toFixed(1)));
  });
}
