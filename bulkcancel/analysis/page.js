"use strict";
(() => {
  const table = document.querySelector("#failures tbody");
  if (!table) return;
  const rows = [...table.rows].map((row) => ({
    row, words: row.textContent.toLowerCase(), outcome: row.cells[1].textContent,
  }));
  const words = document.getElementById("words");
  const outcome = document.getElementById("outcome");
  const shown = document.getElementById("shown");
  const fits = (each) => !each.row.hidden;

  function filter() {
    const wanted = words.value.trim().toLowerCase();
    for (const each of rows) {
      each.row.hidden = !(each.words.includes(wanted)
        && (!outcome.value || each.outcome === outcome.value));
    }
    shown.textContent = `${rows.filter(fits).length.toLocaleString("en")} shown`;
  }

  async function copy() {
    const list = rows.filter(fits).map((each) => `${each.row.cells[0].textContent}\n`);
    let done = true;
    try {
      await navigator.clipboard.writeText(list.join(""));
    } catch {
      const area = document.createElement("textarea");
      area.value = list.join("");
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    shown.textContent = done
      ? `${list.length.toLocaleString("en")} IDs copied, one a line`
      : "this browser does not let a page copy";
  }

  words.addEventListener("input", filter);
  outcome.addEventListener("change", filter);
  words.form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("copy").addEventListener("click", copy);
  words.form.hidden = false;
  filter();
})();
