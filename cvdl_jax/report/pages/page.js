"use strict";
// What every page does: theme, copying, sorted tables, rows that unfold. Options may follow the # of the address, as in
// report.html#theme=dark&sort=table.accuracy.descending
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  const options = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  window.pageOptions = options;
  const say = (text) => { document.getElementById("said").textContent = text; };

  // Theme: as the system, dark, light
  const themes = ["system", "dark", "light"];
  const themeButton = document.getElementById("theme");
  const remembered = () => { try { return localStorage.getItem("cvdl-theme"); } catch { return null; } };
  const setTheme = (theme) => {
    if (theme === "system") delete root.dataset.theme; else root.dataset.theme = theme;
    themeButton.textContent = `theme: ${theme}`;
    themeButton.dataset.now = theme;
  };
  const wanted = options.get("theme") || remembered();
  setTheme(themes.includes(wanted) ? wanted : "system");
  themeButton.addEventListener("click", () => {
    const next = themes[(themes.indexOf(themeButton.dataset.now) + 1) % themes.length];
    setTheme(next);
    try { localStorage.setItem("cvdl-theme", next); } catch { /* a browser may refuse files a memory */ }
  });

  // Copying
  const copyOldWay = (text) => {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };
  const copy = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch { return copyOldWay(text); }
  };
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      button.textContent = (await copy(button.dataset.copy)) ? "copied" : "not allowed";
      say(button.textContent);
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }

  // Tables: numbers by size, text as people sort it, what is missing last in either direction; equal rows keep their order.
  // A row of class "more" belongs to the row above it.
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value ?? cell.textContent.trim();
    if (value === "") return null;
    const number = Number(value);
    return Number.isNaN(number) ? value : number;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, "en", { numeric: true, sensitivity: "base" });
  };
  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const groups = [];
    for (const row of body.rows) {
      if (row.classList.contains("more")) groups.at(-1).rows.push(row);
      else groups.push({ key: key(row, column), rows: [row] });
    }
    const sign = direction === "descending" ? -1 : 1;
    groups.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return sign * compare(a.key, b.key);
    });
    body.append(...groups.flatMap((group) => group.rows));
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        sort(table, column, ascending ? "ascending" : "descending");
        say(`sorted by ${head.textContent.trim()}, ${ascending ? "ascending" : "descending"}`);
      });
    });
  }
  for (const option of options.getAll("sort")) {
    const [id, name, direction] = option.split(".");
    const table = document.getElementById(id);
    const heads = table ? [...table.tHead.rows[0].cells] : [];
    const column = heads.findIndex((head) => head.textContent.trim() === name);
    if (column >= 0) sort(table, column, direction === "descending" ? "descending" : "ascending");
  }

  // Rows that unfold
  const unfold = (button, open) => {
    button.setAttribute("aria-expanded", String(open));
    document.getElementById(button.getAttribute("aria-controls")).hidden = !open;
  };
  for (const button of document.querySelectorAll("button.expand")) {
    unfold(button, options.get("open") === "all");
    button.addEventListener("click", () => unfold(button, button.getAttribute("aria-expanded") !== "true"));
  }
})();
