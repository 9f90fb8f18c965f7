"use strict";
// Keys, times and messages of the console. Everything here has a link or a button that does the same.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60]];
let selected = "";

// What j and k select: a row of the inbox, a card of a review.
const ROW = ".row, .idea";
const rows = () => [...document.querySelectorAll(ROW)];
const selectedRow = () => document.getElementById(selected);

function select(row) {
  if (!row) return;
  for (const other of document.querySelectorAll("[aria-current=true]")) other.removeAttribute("aria-current");
  row.setAttribute("aria-current", "true");
  selected = row.id;
}

function move(step) {
  const all = rows();
  const row = all[Math.min(Math.max(all.indexOf(selectedRow()) + step, 0), all.length - 1)];
  select(row);
  (row?.querySelector(".open") ?? row)?.focus();
}

// Press what the key means in the selected row, or else on the page.
function press(key) {
  const name = `[data-key="${key}"]`;
  const target = selectedRow()?.querySelector(name) ?? document.querySelector(`${name}:not(.row *, .idea *)`);
  if (target?.matches("#offer *, textarea, input[type=text]")) target.focus();
  else target?.click();
}

// The new price is read out, and each field is marked as its note is.
function showOffer(status) {
  status.textContent = document.querySelector("#approve, #offer .problem").textContent;
  for (const note of document.querySelectorAll(".note")) {
    const field = document.getElementById(note.id.slice("note-".length));
    field?.setAttribute("aria-invalid", note.classList.contains("wrong"));
  }
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
  for (const video of document.querySelectorAll("video[preload=none]")) posters.observe(video);
  select(selectedRow());
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  a: () => press("a"),
  r: () => press("r"),
  J: () => press("J"),
  K: () => press("K"),
  x: () => press("x"),
  s: () => press("s"),
  n: () => press("n"),
  c: () => press("c"),
  m: () => document.getElementById("open-chat")?.click(),
  ",": () => press(","),
  ".": () => press("."),
  "?": () => document.getElementById("keys")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input:not([type=checkbox]), textarea, select, dialog");
  if (isTyping && event.key === "Escape") event.target.closest(".idea")?.focus();
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});
// What was refused is not marked any more while it is corrected.
document.addEventListener("input", (event) => {
  if (event.target.closest(".new")) event.target.removeAttribute("aria-invalid");
});
document.addEventListener("focusin", (event) => select(event.target.closest(ROW)));
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) document.getElementById(opener.dataset.open).showModal();
});

document.addEventListener("htmx:afterSettle", (event) => {
  prepare();
  showTimes();
  const status = document.getElementById("status");
  if (event.target.id === "offer") showOffer(status);
  if (status && event.target.id === "rows") status.textContent = `The inbox has changed: ${rows().length} rows on this page.`;
});
function showOutage() {
  const text = "The service does not answer. This page tries again every few seconds.";
  const message = Object.assign(document.createElement("p"), { className: "problem", textContent: text });
  document.getElementById("problem").replaceChildren(message);
}
document.addEventListener("htmx:sendError", showOutage);
document.addEventListener("htmx:sseError", showOutage);
document.addEventListener("htmx:sseOpen", () => document.getElementById("problem").replaceChildren());
// A stream that is opened anew repeats the events since the page was loaded: each is shown once.
document.addEventListener("htmx:sseBeforeMessage", (event) => {
  const { type, lastEventId } = event.detail;
  if (type === "moment" && document.getElementById(`moment-${lastEventId}`)) event.preventDefault();
});
document.addEventListener("htmx:sseMessage", (event) => {
  if (event.detail.type !== "moment") return;
  // Of the progress of an order the newest line is shown. The others stay, hidden, so that none is added twice.
  const newest = document.querySelector("#timeline li").dataset.progress;
  const lines = [...document.querySelectorAll("[data-progress]")].filter((line) => line.dataset.progress === newest);
  for (const line of lines.slice(1)) line.hidden = true;
  document.getElementById("status").textContent = document.querySelector("#timeline p").textContent;
});

// The form that is being sent, or whose cards a button changes. It asks for no price, which would come after the
// decision, or take the place of the button's request; what is answered to the button has the price.
let sent = null;
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || !window.htmx) return; // htmx sends it; the page of a link is without htmx
  htmx.trigger(event.target, "htmx:abort");
  sent = event.target;
});
addEventListener("pageshow", () => { sent = null; });
document.addEventListener("htmx:confirm", (event) => {
  if (event.target === sent) event.preventDefault();
});
document.addEventListener("htmx:beforeSend", ({ target, detail: { xhr } }) => {
  if (target.matches("button[hx-select]")) sent = target.form;
  xhr.onabort = xhr.onload; // A request that was replaced by another is no error.
});
document.addEventListener("htmx:afterRequest", ({ detail: { successful, xhr } }) => {
  sent = null;
  if (successful && xhr.status) document.getElementById("problem").replaceChildren();
});

// An open review asks whether it is still the one to decide. What was typed stays.
const stale = document.getElementById("stale");
async function checkReview() {
  const response = await fetch(stale.dataset.check).catch(() => null);
  stale.hidden = ![404, 409, 410].includes(response?.status);
}
if (stale) setInterval(() => { if (stale.hidden && !document.hidden) checkReview(); }, 10000);

for (const button of document.querySelectorAll("[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    source.select();
    await navigator.clipboard.writeText(source.value);
    button.textContent = "Copied";
  });
}

setInterval(showTimes, 30000);
prepare();
