"use strict";
// The chat: a panel that opens on every page, and answers that are shown as they are written. Without this script it is
// a page of its own, whose forms do the same.

const opener = document.getElementById("open-chat");
const panel = document.querySelector("dialog.chat");
const isWide = matchMedia("(min-width: 60rem)");
let isSending = false;

const field = () => document.getElementById("message");
const chatLog = () => document.getElementById("chat-log");
const showEnd = () => chatLog().scrollTo(0, chatLog().scrollHeight);
const lastAnswer = () => [...chatLog().querySelectorAll(".assistant")].at(-1);
// From the last answer on, with what can be confirmed below it.
const showAnswer = () => lastAnswer()?.scrollIntoView({ block: "start" });

function load() {
  return htmx.ajax("GET", opener.href, { target: "#chat-body", swap: "innerHTML" }).then(() => {
    if (!field()) return; // the error is shown on the page
    field().value = sessionStorage.getItem("chat-draft") ?? "";
    showAnswer();
  });
}

function markOpen(isOpen) {
  opener.setAttribute("aria-expanded", isOpen);
  if (isOpen) sessionStorage.setItem("chat-open", "yes");
  else sessionStorage.removeItem("chat-open");
}

// Where there is room the page stays usable; elsewhere the panel covers it.
function open() {
  if (isWide.matches) panel.show();
  else panel.showModal();
  markOpen(true);
  load().then(() => field()?.focus());
}

if (panel) {
  markOpen(isWide.matches && sessionStorage.getItem("chat-open") === "yes");
  panel.addEventListener("close", () => markOpen(false));
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") panel.close();
  });
}

opener.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (!panel) field().focus();
  else if (panel.open) panel.close();
  else open();
});

// After a change of the page the panel is open as before; what has the focus keeps it.
document.addEventListener("DOMContentLoaded", () => {
  if (opener.getAttribute("aria-expanded") !== "true") return;
  panel.setAttribute("open", "");
  load();
});

function showProblem(text, code = "") {
  const message = Object.assign(document.createElement("p"), { className: "problem" });
  if (code) message.append(Object.assign(document.createElement("code"), { textContent: code }), " ");
  message.append(text);
  document.getElementById("chat-problem").replaceChildren(message);
}

function addText(role, text) {
  const line = Object.assign(document.createElement("p"), { className: `text ${role}`, dir: "auto", textContent: text });
  chatLog().append(line);
  showEnd();
  return line;
}

// The events of a response, as [name, data].
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (text + part.value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const lines = event.split("\n");
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      yield [lines.find((line) => line.startsWith("event: "))?.slice(7), data.join("\n")];
    }
  }
}

// Show the turn as it happens. Returns whether it was answered.
async function showTurn(response, answer) {
  for await (const [name, data] of eventsOf(response)) {
    if (name === "token") answer.append(JSON.parse(data).text);
    if (name === "error") {
      const { code, message } = JSON.parse(data).error;
      showProblem(message, code);
      return false;
    }
    if (name === "done") {
      chatLog().innerHTML = data;
      document.getElementById("chat-status").textContent = lastAnswer()?.textContent ?? "";
      return true;
    }
    showEnd();
  }
  showProblem("The connection was lost. What you typed is kept: reload the page to see whether it was answered.");
  return false;
}

async function send(form, button) {
  const body = new URLSearchParams(new FormData(form));
  if (button?.name) body.set(button.name, button.value);
  const isTyped = form.id === "chat-form";
  document.getElementById("chat-problem").replaceChildren();
  const lines = [...(isTyped ? [addText("user", body.get("message"))] : []), addText("assistant", "")];
  let isAnswered = false;
  try {
    const headers = { Accept: "text/event-stream", "HX-Request": "true", "HX-Current-URL": location.href };
    const response = await fetch("/chat", { method: "POST", body, headers });
    const target = response.headers.get("HX-Redirect");
    if (target) location.assign(target);
    else if (response.headers.get("content-type").startsWith("text/event-stream")) isAnswered = await showTurn(response, lines.at(-1));
    else document.getElementById("chat-problem").innerHTML = await response.text();
  } catch {
    showProblem("The service does not answer. What you typed is kept: send it again in a few seconds.");
  }
  if (!isAnswered) for (const line of lines) line.remove();
  if (isAnswered && isTyped) {
    field().value = "";
    sessionStorage.removeItem("chat-draft");
  }
  showAnswer();
  if (document.activeElement === document.body) field().focus();
}

document.addEventListener("submit", async (event) => {
  if (!event.target.matches("form.message")) return;
  event.preventDefault();
  if (isSending || (event.target.id === "chat-form" && !field().value.trim())) return;
  isSending = field().readOnly = true;
  document.getElementById("chat-form").setAttribute("aria-busy", "true");
  await send(event.target, event.submitter);
  isSending = field().readOnly = false;
  document.getElementById("chat-form").removeAttribute("aria-busy");
});

document.addEventListener("input", (event) => {
  if (event.target === field()) sessionStorage.setItem("chat-draft", field().value);
});

// Enter sends; with Shift it begins a line.
document.addEventListener("keydown", (event) => {
  if (event.target !== field() || event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  field().form.requestSubmit();
});
