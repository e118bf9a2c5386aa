// Tables that a click on a heading sorts; empty cells stay last.
const compare = (a, b) => {
  const x = Number(a), y = Number(b);
  return isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
};
for (const head of document.querySelectorAll("table.sortable th")) {
  head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0], i = head.cellIndex;
    const rows = [...body.rows].map(row => [row.cells[i].dataset.value, row]);
    const empty = rows.filter(([k]) => k === ""), full = rows.filter(([k]) => k !== "");
    full.sort(([a], [b]) => (up ? 1 : -1) * compare(a, b));
    body.append(...[...full, ...empty].map(([, row]) => row));
  });
}

// The settings in which the points of the two menus differ.
const varying = JSON.parse(document.getElementById("varying").textContent);
const [left, right] = document.querySelectorAll("select");
const show = () => {
  const body = document.getElementById("differences");
  body.replaceChildren();
  const a = varying[left.value], b = varying[right.value];
  for (const setting of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (a[setting] === b[setting]) continue;
    const row = body.insertRow();
    for (const text of [setting, a[setting] ?? "", b[setting] ?? ""])
      row.insertCell().textContent = text;
  }
  if (!body.rows.length) body.insertRow().insertCell().textContent = "no difference";
};
left.addEventListener("change", show);
right.addEventListener("change", show);
show();
