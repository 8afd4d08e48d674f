"use strict";

const $ = (id) => document.getElementById(id);
const percent = (share) => (share < 0.0005 ? "< 0.1 %" : share > 0.9995 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`);
const MEBIBYTE = 2 ** 20;
// without a limit the attribute says "inf"
const mostBytes = Number.parseFloat(document.body.dataset.mostBytes) || Infinity;
const pictureBytes = Number.parseFloat(document.body.dataset.pictureBytes) || Infinity;

function element(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text ?? "";
  if (name) made.className = name;
  return made;
}

function say(place, text, isError = false) {
  place.textContent = text;
  place.classList.toggle("error", isError);
}

async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The app doesn't answer: it was ended, or the connection broke. Start it again, and try again.");
  }
  if (response.status === 204) return null;
  const content = await response.json().catch(() => ({ error: `The app answered ${response.status}.` }));
  if (!response.ok) throw new Error(content.error);
  return content;
}

const json = (content) => ({
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content),
});

function bars(list, top) {
  list.replaceChildren(...top.map(({ label, probability }) => {
    const item = element("li");
    const fill = element("span", "", "fill");
    fill.style.width = `${100 * probability}%`;
    item.append(fill, element("span", label), element("span", percent(probability)));
    return item;
  }));
}

// tabs, with the keys that WAI-ARIA asks for

const tabs = [...document.querySelectorAll("[role=tab]")];

function open(tab) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", String(chosen));
    each.tabIndex = chosen ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !chosen;
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const other = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    open(other);
    other.focus();
  });
}

function droppable(zone, take) {
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer);
  });
}

// a file dropped beside a zone would replace the page
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());

// one product

let pictures = [];
let asking = null;

function showPictures() {
  for (const image of $("chosen").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  $("chosen").replaceChildren(...pictures.map((file, number) => {
    const item = element("li");
    const image = element("img");
    image.src = URL.createObjectURL(file);
    image.alt = file.name;
    const remove = element("button", "×");
    remove.type = "button";
    remove.setAttribute("aria-label", `Take out ${file.name}`);
    remove.addEventListener("click", () => {
      pictures.splice(number, 1);
      showPictures();
      $("pictures").focus();
      if (pictures.length || hasText()) classify();
      else clearAnswer();
    });
    item.append(image, remove);
    return item;
  }));
}

const fields = () => [...document.querySelectorAll("[data-column]")];
const hasText = () => fields().some((field) => field.value.trim());

function addPictures(files) {
  const found = [...files].filter((file) => file.type.startsWith("image/"));
  if (!found.length) {
    if (files.length) fail("That is no picture; drop a JPEG, PNG, WebP, GIF, BMP or TIFF file.");
    return;
  }
  pictures.push(...found);
  showPictures();
  classify();
}

function encoded(file) {
  if (file.size > pictureBytes) {
    throw new Error(`${file.name}: is larger than ${pictureBytes / MEBIBYTE} MiB; give a smaller one.`);
  }
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve({ name: file.name, content: reader.result.slice(reader.result.indexOf(",") + 1) });
    reader.onerror = () => reject(new Error(`${file.name}: can't be read any more; choose it again.`));
    reader.readAsDataURL(file);
  });
}

function clearAnswer() {
  asking?.abort();
  $("verdict").hidden = true;
  say($("said"), "The answer comes here, once there is a picture or a text.");
}

function fail(sentence) {
  $("verdict").hidden = true;
  say($("said"), sentence, true);
}

async function classify() {
  asking?.abort();
  const mine = asking = new AbortController();
  $("verdict").classList.add("old");
  say($("said"), "Asking the model …");
  try {
    const texts = Object.fromEntries(fields().map((field) => [field.dataset.column, field.value]));
    const content = { texts, pictures: await Promise.all(pictures.map(encoded)) };
    content.precision = Number($("product-precision").value);
    const answer = await ask("/products", { ...json(content), signal: mine.signal });
    if (asking === mine) showVerdict(answer);
  } catch (error) {
    if (asking === mine && error.name !== "AbortError") fail(error.message);
  }
}

function showVerdict(answer) {
  const unassigned = document.body.dataset.unassigned;
  $("verdict").hidden = false;
  $("verdict").classList.remove("old");
  $("label").textContent = answer.is_assigned ? answer.label : unassigned;
  $("label").classList.toggle("unsure", !answer.is_assigned);
  const sure = percent(answer.top[0].probability);
  say($("said"), answer.is_assigned ? `${sure} sure` : `not sure enough: ${sure}`);
  $("unsure").hidden = answer.is_assigned;
  $("unsure").textContent =
    `Most likely ${answer.label}, but the precision that you chose asks for ${percent(answer.least)}.`;
  bars($("top"), answer.top);
  $("alone").replaceChildren(...answer.alone.map(({ part, top, note }) => {
    const box = element("div");
    const list = element("ol", "", "bars");
    bars(list, top.slice(0, 3));
    box.append(element("h3", `The ${part} alone`), list);
    if (note) box.append(element("p", note, "hint"));
    return box;
  }));
  $("no-near").hidden = answer.neighbours !== null;
  $("near").replaceChildren(...(answer.neighbours ?? []).map((near) => {
    const item = element("li");
    let picture = element("span", near.note, "blank");
    if (near.picture) {
      picture = element("img");
      picture.src = near.picture;
      picture.alt = "";
    }
    item.append(picture, element("p", near.label, "class"), element("p", near.text),
      element("p", near.id, "hint"), element("p", `similarity ${near.similarity.toFixed(2)}`, "hint"));
    return item;
  }));
}

droppable($("drop"), (data) => addPictures(data.files));
$("pictures").addEventListener("change", (event) => {
  addPictures(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => {
  if ($("one").hidden || !event.clipboardData.files.length) return;
  event.preventDefault();
  addPictures(event.clipboardData.files);
});
$("product").addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
  if (matchMedia("(max-width: 760px)").matches) $("said").scrollIntoView();  // it is below the form there
});
$("product").addEventListener("reset", () => { pictures = []; showPictures(); clearAnswer(); });
$("product-precision").addEventListener("change", () => { if (pictures.length || hasText()) classify(); });
for (const field of fields()) {
  field.addEventListener("input", () => {
    if ($("verdict").hidden || $("verdict").classList.contains("old")) return;
    $("verdict").classList.add("old");
    say($("said"), "The text has changed since; press Classify.");
  });
}

// a table or a folder

const READ = /\.(csv|zip|jpe?g|png|webp|bmp|gif|tiff?)$/i;
let files = [];
let table = null;

function addFiles(found) {
  const usable = found.filter((file) => READ.test(file.name) && !file.name.startsWith("."));
  files.push(...usable);
  const size = files.reduce((total, file) => total + file.size, 0);
  const left = found.length - usable.length;
  const more = left ? `; ${left} left out, being neither pictures, CSV nor zip` : "";
  const isTooLarge = size > mostBytes;
  const large = isTooLarge ? `: more than the ${mostBytes / MEBIBYTE} MiB that are taken at a time` : "";
  const noun = files.length === 1 ? "file" : "files";
  say($("listed"), `${files.length} ${noun}, ${(size / MEBIBYTE).toFixed(1)} MiB${large}${more}`, isTooLarge);
}

// what was dropped, with the files in folders, at any depth
async function within(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const each of some) found.push(...await within(each));
  }
}

async function label() {
  const mine = {};
  table = mine;
  const stopped = () => table !== mine;
  clearTable();
  if (!files.length) {
    say($("table-said"), "Choose a CSV, pictures, a folder or a zip first.", true);
    return;
  }
  $("table").querySelector(".main").disabled = true;
  $("stop").hidden = $("bar").hidden = false;
  try {
    mine.address = `/tables/${(await ask("/tables", { method: "POST" })).table}`;
    for (const [number, file] of files.entries()) {
      if (stopped()) return;
      say($("table-said"), `Sending ${number + 1} of ${files.length}: ${file.name}`);
      $("bar").value = number / files.length;
      await ask(`${mine.address}/files?name=${encodeURIComponent(file.name)}`, { method: "PUT", body: file });
    }
    if (stopped()) return;
    let progress = await ask(`${mine.address}/start`, json({ precision: Number($("table-precision").value) }));
    while (progress.stage === "working" && !stopped()) {
      showProgress(progress);
      await new Promise((resolve) => setTimeout(resolve, 500));
      progress = await ask(mine.address);
    }
    if (stopped()) return;
    if (progress.stage === "failed") throw new Error(progress.error);
    showLabelled(progress, mine.address);
  } catch (error) {
    if (stopped()) return;
    say($("table-said"), error.message, true);
    if (mine.address) ask(mine.address, { method: "DELETE" }).catch(() => {});
  } finally {
    if (stopped() && mine.address) ask(mine.address, { method: "DELETE" }).catch(() => {});
    if (!stopped()) idle();
  }
}

function idle() {
  $("table").querySelector(".main").disabled = false;
  $("stop").hidden = $("bar").hidden = true;
}

function clearTable() {
  $("labelled").hidden = true;
  $("notes").replaceChildren();
  say($("table-said"), "");
}

function showProgress({ done, rows, seconds_left: left }) {
  $("bar").value = rows ? done / rows : 0;
  const time = left === null ? "" : `, about ${left < 90 ? `${Math.ceil(left)} s` : `${Math.round(left / 60)} min`} left`;
  say($("table-said"), rows ? `${done} of ${rows} rows${time}` : "Reading the files …");
}

function showLabelled(progress, address) {
  const { rows, assigned, lines, notes } = progress;
  const unsure = rows - assigned;
  const more = unsure ? `; ${unsure} weren't sure enough and are ${document.body.dataset.unassigned}` : "";
  say($("table-said"), `${assigned} of ${rows} rows are labelled${more}.`);
  $("labelled").hidden = false;
  $("download").href = `${address}/labelled.csv`;
  $("lines").replaceChildren(...lines.map((line) => {
    const row = element("tr");
    row.append(element("td", line.id), element("td", line.label), element("td", percent(line.confidence)));
    return row;
  }));
  $("notes").replaceChildren(...notes.map((note) => element("li", note)));
}

droppable($("drop-files"), async (data) => {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  try {
    addFiles((await Promise.all(entries.map(within))).flat());
  } catch {
    say($("listed"), "A file that was dropped can't be read; choose it again.", true);
  }
});
for (const name of ["files", "folder"]) {
  $(name).addEventListener("change", (event) => {
    addFiles([...event.target.files]);
    event.target.value = "";
  });
}
$("table").addEventListener("submit", (event) => { event.preventDefault(); label(); });
$("table").addEventListener("reset", () => {
  files = [];
  table = null;
  clearTable();
  idle();
  say($("listed"), "No file chosen yet.");
});
$("stop").addEventListener("click", () => {
  table = null;
  idle();
  say($("table-said"), "Stopped.");
});
