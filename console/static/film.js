"use strict";
// The film of a review: steps of one frame, and the time of a comment. Without this file the time is typed.

const film = document.getElementById("film-video");
const steps = document.getElementById("steps");
const FPS = Number(steps.dataset.fps);

function showTime() {
  const time = film.currentTime.toFixed(2);
  document.getElementById("time").textContent = `${time} s`;
  const field = document.getElementById("at");
  if (field && field !== document.activeElement) field.value = time;
}

function seek(seconds) {
  film.pause();
  film.currentTime = Math.min(Math.max(seconds, 0), film.duration || 0);
}

steps.hidden = false;
for (const name of ["timeupdate", "seeked", "pause"]) film.addEventListener(name, showTime);
document.addEventListener("click", (event) => {
  const step = event.target.closest("[data-step]");
  // The middle of a frame: its edges belong to two.
  if (step) seek((Math.floor(film.currentTime * FPS + 0.001) + Number(step.dataset.step) + 0.5) / FPS);
  const link = event.target.closest("[data-seek]");
  if (!link) return;
  event.preventDefault();
  seek(Number(link.dataset.seek) + 0.5 / FPS);
  film.scrollIntoView({ block: "center" });
});
document.addEventListener("focusin", (event) => {
  if (event.target.id !== "remark") return;
  film.pause();
  showTime();
});
document.addEventListener("keydown", (event) => {
  if (event.target.id !== "remark" || event.key !== "Enter") return;
  event.preventDefault();
  document.getElementById("add-remark").click();
});
