"use strict";
// Keys, times and messages of the console. Everything here has a link or a button that does the same.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60]];
let selected = "";

const rows = () => [...document.querySelectorAll(".row")];
const selectedRow = () => document.getElementById(selected);

function select(row) {
  if (!row) return;
  for (const other of document.querySelectorAll(".row[aria-current]")) other.removeAttribute("aria-current");
  row.setAttribute("aria-current", "true");
  selected = row.id;
}

function move(step) {
  const all = rows();
  const row = all[Math.min(Math.max(all.indexOf(selectedRow()) + step, 0), all.length - 1)];
  select(row);
  row?.querySelector(".open").focus();
}

function showTimes() {
  for (const time of document.querySelectorAll(".numbers time")) {
    const seconds = Math.abs(Date.now() - Date.parse(time.dateTime)) / 1000;
    const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? ["min", 60];
    time.textContent = `${Math.max(Math.floor(seconds / length), 1)} ${unit}`;
  }
}

// The first frame of a film is loaded when its row is near the screen.
const posters = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) entry.target.preload = "metadata";
}, { rootMargin: "200px" });

function prepare() {
  for (const video of document.querySelectorAll(".poster video")) posters.observe(video);
  select(selectedRow());
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  a: () => selectedRow()?.querySelector("[data-key=a]")?.click(),
  r: () => selectedRow()?.querySelector("[data-key=r]")?.click(),
  "?": () => document.getElementById("keys")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select, dialog");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.addEventListener("focusin", (event) => select(event.target.closest(".row")));
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) document.getElementById(opener.dataset.open).showModal();
});

document.addEventListener("htmx:afterSettle", (event) => {
  prepare();
  showTimes();
  const status = document.getElementById("status");
  if (status && event.target.id === "rows") status.textContent = `The inbox has changed: ${rows().length} rows on this page.`;
});
document.addEventListener("htmx:sendError", () => {
  const text = "The service does not answer. This page tries again every few seconds.";
  const message = Object.assign(document.createElement("p"), { className: "problem", textContent: text });
  document.getElementById("problem").replaceChildren(message);
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) document.getElementById("problem").replaceChildren();
});

setInterval(showTimes, 30000);
prepare();
