"use strict";
// MLflow shows the page inside another one, where a browser may not follow links within it by itself
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener("click", (event) => {
    const target = document.getElementById(link.hash.slice(1));
    event.preventDefault();
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  });
}
// a heading sorts its table: numbers from the largest on at first, words from A; cells without a value stay last
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, place) => {
    heading.querySelector("button").addEventListener("click", () => {
      const isNumber = heading.classList.contains("number");
      const before = heading.getAttribute("aria-sort");
      const falls = before ? before === "ascending" : isNumber;
      const key = (row) => {
        const cell = row.cells[place];
        return isNumber ? (cell.dataset.sort === "" ? null : Number(cell.dataset.sort)) : cell.textContent;
      };
      const order = (a, b) => (isNumber ? a - b : a.localeCompare(b, undefined, { numeric: true }));
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        const a = key(one), b = key(other);
        if (a === null || b === null) return (a === null) - (b === null);
        return falls ? order(b, a) : order(a, b);
      });
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", falls ? "descending" : "ascending");
      table.tBodies[0].append(...rows);
      document.getElementById("sorted").textContent =
        `Sorted by ${heading.textContent.trim()}, ${falls ? "descending" : "ascending"}.`;
    });
  });
}
