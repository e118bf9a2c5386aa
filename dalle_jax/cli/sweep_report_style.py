"""How a sweep's page looks, and what clicks on it do."""

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2328; background: #fff;
       margin: 1.5rem auto; padding: 0 1rem; max-width: 100rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .6rem 0 1rem; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid #d1d9e0;
         vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
th { overflow-wrap: normal; } th small { font-weight: 400; }
table.sortable th { cursor: pointer; user-select: none; vertical-align: bottom; }
th[aria-sort=ascending]::after { content: " ▲"; } th[aria-sort=descending]::after { content: " ▼"; }
small, .quiet { color: #59636e; } .wide { overflow-x: auto; }
.samples td { padding: .1rem .3rem .1rem 0; border: 0; }
.samples th { font-weight: 400; font-size: .75rem; max-width: 6rem; white-space: normal;
              overflow-wrap: anywhere; text-align: left; vertical-align: bottom; }
.samples img { width: 6rem; image-rendering: pixelated; display: block; }
.samples td:first-child { white-space: normal; min-width: 7rem; font-size: .85rem; }
.curves { display: grid; gap: 0 2rem;
          grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
table.sortable td small { display: block; }
table.sortable tr > :first-child { position: sticky; left: 0; background: #fff; }
table.sortable tbody tr:hover > * { background: #f6f8fa; }
dl.facts dt { color: #59636e; font-size: .85rem; } dl.facts dd { margin: 0 0 .3rem; }
@media (min-width: 45rem) {
  dl.facts { display: grid; gap: .2rem 1rem;
             grid-template-columns: fit-content(20rem) minmax(0, 1fr); }
}
summary { cursor: pointer; }
td details span { display: block; max-width: 16rem; white-space: normal; }
svg { font: 12px system-ui, sans-serif; max-width: 100%; height: auto; }
@media (max-width: 45rem) { svg { font-size: 17px; } }
svg polyline { fill: none; stroke-width: 1.5; }
.legend span { display: inline-block; margin-right: 1.2rem; }
select { max-width: 100%; }
"""

SCRIPT = """
const key = cell => cell.dataset.value === undefined ? cell.textContent : cell.dataset.value;
const compare = (a, b) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  const x = Number(a), y = Number(b);
  return isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
};
for (const head of document.querySelectorAll("table.sortable th")) {
  head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0], i = head.cellIndex;
    const rows = [...body.rows].map(row => [key(row.cells[i]), row]);
    const empty = rows.filter(([k]) => k === ""), full = rows.filter(([k]) => k !== "");
    full.sort(([a], [b]) => (up ? 1 : -1) * compare(a, b));
    body.append(...[...full, ...empty].map(([, row]) => row));
  });
}
const varying = JSON.parse(document.getElementById("varying").textContent);
const [left, right] = document.querySelectorAll("select");
const show = () => {
  const body = document.getElementById("differences");
  body.replaceChildren();
  const a = varying[left.value], b = varying[right.value];
  for (const knob of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (a[knob] === b[knob]) continue;
    const row = body.insertRow();
    for (const text of [knob, a[knob] ?? "", b[knob] ?? ""]) row.insertCell().textContent = text;
  }
  if (!body.rows.length) body.insertRow().insertCell().textContent = "no difference";
};
left.addEventListener("change", show);
right.addEventListener("change", show);
show();
"""
