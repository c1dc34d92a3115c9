// The page of `texsyn web`. It talks to its own server only; the routes stand at the top of texsyn/web/app.py.
"use strict";

const $ = (id) => document.getElementById(id);
const PAUSE = 250; // milliseconds between two questions about a job

let limits = null; // of the server
let picture = null; // {picture, width, height, ...} as the server knows it
let stem = "texture"; // what files to download are named after
let job = null; // the one at work

// ---- talking to the server

async function ask(method, path, body, type) {
  let answer;
  try {
    answer = await fetch(path, { method, body, headers: type ? { "Content-Type": type } : {} });
  } catch {
    throw new Error("The page's server does not answer. Start `texsyn web` again.");
  }
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: `the server says ${answer.status}` }));
  throw new Error(sentence(error));
}

const asJson = async (...request) => (await ask(...request)).json();

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// ---- the picture that is given

async function take(file) {
  complain("");
  try {
    if (limits && file.size > limits.upload_bytes)
      throw new Error(`This file is larger than the accepted ${Math.floor(limits.upload_bytes / 2 ** 20)} MiB.`);
    $("about").textContent = "Reading…";
    picture = await asJson("POST", "/pictures", file, "application/octet-stream");
    stem = file.name.replace(/\.[^.]*$/, "") || "texture";
    const notes = picture.notes.length ? `; ${picture.notes.join("; ")}` : "";
    $("about").textContent = `${file.name}: ${picture.width} × ${picture.height}, ${picture.kind}${notes}`;
    $("given").src = `/pictures/${picture.picture}`;
    $("given").alt = `Your picture, ${file.name}`;
    multiply(2);
  } catch (error) {
    picture = null;
    $("about").textContent = "";
    $("given").removeAttribute("src");
    complain(error.message);
  }
  $("given").hidden = !picture;
  $("invitation").hidden = Boolean(picture);
  for (const button of document.querySelectorAll(".factor")) button.disabled = !picture;
  allow();
}

function multiply(factor) {
  $("width").value = picture.width * factor;
  $("height").value = picture.height * factor;
}

// ---- one job, from the order to the download

async function make() {
  complain("");
  for (const [id, name] of [["width", "Width"], ["height", "Height"], ["seed", "Seed"]])
    if (!$(id).validity.valid) {
      $(id).focus();
      return complain(`${name} should be a whole number${id === "seed" ? "" : " of at least 1"}.`);
    }
  const order = {
    picture: picture.picture,
    size: `${$("width").value}x${$("height").value}`,
    tile: document.querySelector("input[name=tile]:checked").value,
    seed: $("seed").value === "" ? null : Number($("seed").value),
  };
  try {
    job = await asJson("POST", "/jobs", JSON.stringify(order), "application/json");
    allow();
    unroll(job);
    show(await follow(job), order, job);
  } catch (error) {
    $("status").textContent = "";
    complain(error.message);
  }
  job = null;
  $("progress").hidden = true;
  allow();
}

async function follow(started) {
  for (let drawn = 0; ; ) {
    const now = await asJson("GET", `/jobs/${started.job}`);
    for (; drawn < now.tiles; drawn++) await paint(started, drawn);
    $("progress").value = now.fraction;
    if (now.state !== "working") return now;
    const left = now.fraction > 0.15 && now.seconds > 2 ? `, about ${clock(now.seconds / now.fraction - now.seconds)} left` : "";
    $("status").textContent = $("cancel").disabled ? "Stopping…" : `${now.message}${left}`;
    await wait(PAUSE);
  }
}

const clock = (seconds) => (seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`);

function unroll({ width, height }) {
  const canvas = $("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.hidden = false;
  canvas.setAttribute("aria-label", "The picture, being made");
  $("empty").hidden = $("tools").hidden = $("repeated").hidden = true;
  $("repeat").checked = false;
  $("progress").value = 0;
  $("progress").hidden = false;
  $("status").textContent = "Starting…";
}

async function paint({ job: name, width, tile_side: side }, k) {
  const columns = Math.ceil(width / side);
  const blob = await (await ask("GET", `/jobs/${name}/tiles/${k}`)).blob();
  const tile = await createImageBitmap(blob);
  $("canvas").getContext("2d").drawImage(tile, (k % columns) * side, Math.floor(k / columns) * side);
  tile.close();
}

function show(outcome, order, { job: name, width, height, seed }) {
  if (outcome.state !== "done") {
    $("status").textContent = outcome.state === "cancelled" ? "Cancelled." : "";
    return outcome.state === "cancelled" ? undefined : complain(sentence(outcome.error));
  }
  const isTiff = outcome.media === "image/tiff";
  const link = $("download");
  link.href = `/jobs/${name}/result`;
  link.download = `${stem}_${width}x${height}_seed${seed}.${isTiff ? "tif" : "png"}`;
  link.textContent = `Download ${isTiff ? "TIFF" : "PNG"}`;
  $("canvas").setAttribute("aria-label", `Texture of ${width} by ${height} pixels made from ${stem}, seed ${seed}`);
  $("repeat-label").hidden = order.tile === "none" || isTiff;
  $("repeated").style.backgroundImage = order.tile === "none" || isTiff ? "none" : `url("${link.href}")`;
  $("repeated").style.backgroundRepeat = { x: "repeat-x", y: "repeat-y" }[order.tile] ?? "repeat";
  $("tools").hidden = false;
  $("status").textContent = `${width} × ${height}, seed ${seed}, ${outcome.seconds.toFixed(1)} s`;
}

async function cancel() {
  if (!job) return;
  $("cancel").disabled = true;
  $("status").textContent = "Stopping…";
  await ask("POST", `/jobs/${job.job}/cancel`).catch((error) => complain(error.message));
}

// ---- what can be pressed, and what it does

function allow() {
  $("make").disabled = !picture || Boolean(job);
  $("cancel").disabled = !job;
}

function complain(text) {
  $("error").textContent = text;
}

$("file").addEventListener("change", () => $("file").files.length && take($("file").files[0]));
$("order").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!$("make").disabled) make();
});
$("cancel").addEventListener("click", cancel);
$("random").addEventListener("click", () => ($("seed").value = crypto.getRandomValues(new Uint32Array(1))[0]));
for (const button of document.querySelectorAll(".factor"))
  button.addEventListener("click", () => multiply(Number(button.dataset.factor)));
$("actual").addEventListener("change", () => $("frame").classList.toggle("actual", $("actual").checked));
$("repeat").addEventListener("change", () => {
  $("repeated").style.backgroundSize = `${$("canvas").clientWidth / 2}px`;
  $("canvas").hidden = $("repeat").checked;
  $("repeated").hidden = !$("repeat").checked;
});

// A picture may be dropped anywhere, lest the browser leaves the page to show it.
for (const name of ["dragover", "drop", "dragleave"])
  window.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length && !job) take(event.dataTransfer.files[0]);
  });

// Nobody is left to look at it.
window.addEventListener("pagehide", () => job && navigator.sendBeacon(`/jobs/${job.job}/cancel`));

asJson("GET", "/limits").then(
  (found) => {
    limits = found;
    $("version").textContent = `texsyn ${limits.version}`;
  },
  (error) => complain(error.message),
);
