// The page's wiring: what is chosen, what is asked of the service, what is shown. All state is in `chosen`.

import { Editor } from "./editor.js";
import * as result from "./result.js";
import * as service from "./service.js";
import { upright } from "./upright.js";
import { partName, say, speak, speaksEnglish } from "./words.js";

const DEFAULT_PART = { segmentation: "KidneyUS", classification: "private_Appendix" };
const LANGUAGE = "orwatch-language";

const $ = (id) => document.getElementById(id);
const editor = new Editor($("stage"));

// record: of the picture that is open. cut: what was made of it last, so that it is not uploaded twice.
const chosen = { task: "segmentation", part: null, parts: [], whyNot: "", record: null, blob: null, cut: null };
// How many calls are under way; the last that began is the one whose answer counts.
let busy = 0;
let latest = 0;
let shown = null;
let again = null;

// --- what was chosen ---

function choose(task) {
  chosen.task = task;
  const parts = chosen.parts.filter((part) => part.task === task && part.shown_as);
  chosen.part = parts.find((part) => part.dataset_name === DEFAULT_PART[task]) ?? parts[0] ?? null;
  clearPicture();
  showParts();
}

function showParts() {
  const parts = chosen.parts.filter((part) => part.task === chosen.task && part.shown_as);
  $("parts").replaceChildren(
    ...parts.map((part) => {
      const label = document.createElement("label");
      const radio = document.createElement("input");
      Object.assign(radio, { type: "radio", name: "part", value: part.dataset_name, checked: part === chosen.part });
      radio.addEventListener("change", () => {
        chosen.part = part;
        refresh();
      });
      const name = document.createElement("span");
      name.textContent = partName(part);
      const small = document.createElement("small");
      small.textContent = part.has_model ? part.dataset_name : `${part.dataset_name} · ${say("noModel")}`;
      name.append(small);
      label.append(radio, name);
      return label;
    }),
  );
  refresh();
}

function clearPicture() {
  latest += 1;
  Object.assign(chosen, { record: null, blob: null, cut: null });
  editor.close();
  showResult(null);
  refresh();
}

async function openPicture(record, blob) {
  try {
    await editor.open(blob);
  } catch {
    throw new Error(say("failedToShow"));
  }
  Object.assign(chosen, { record, blob, cut: null });
  showResult(null);
}

// --- what is asked of the service ---

/** Runs one piece of work with everything else locked; an answer that nobody waits for any more is dropped. */
async function working(word, work) {
  const mine = (latest += 1);
  busy += 1;
  hideError();
  $("status").textContent = say(word);
  refresh();
  try {
    await work(() => mine === latest);
  } catch (error) {
    if (mine === latest) failed(error, () => working(word, work));
  } finally {
    busy -= 1;
    refresh();
  }
}

const loadParts = () =>
  working("loading", async () => {
    const overview = await service.parts();
    Object.assign(chosen, { parts: overview.parts, whyNot: overview.why_not });
    choose(chosen.task);
    if (chosen.whyNot) showError(chosen.whyNot);
  });

const uploadFile = (file) =>
  working("uploading", async (isWanted) => {
    let made;
    try {
      made = await upright(file);
    } catch {
      throw new Error(say("failedToShow"));
    }
    const record = await service.upload(made.blob, made.name);
    if (isWanted()) await openPicture(record, made.blob);
  });

const drawSample = () =>
  working("loading", async (isWanted) => {
    const record = await service.sample(chosen.task, chosen.part.dataset_name);
    const blob = await service.picture(record.img_path_relative);
    if (isWanted()) await openPicture(record, blob);
  });

const analyse = () =>
  working("analysing", async (isWanted) => {
    const crop = editor.crop;
    if (!crop) throw new Error(say("nothingSelected"));
    const { task, part } = chosen;
    const { record, blob } = crop.isWhole ? chosen : await cutOut(crop);
    const sent = {
      ...picked(record, ["img_name", "img_path_relative", "img_size_bytes", "img_dimensions", "img_format"]),
      task,
      dataset_name: part.dataset_name,
      organ: part.organ,
      data_partition_group: "public_all",
      ...Object.fromEntries(UNKNOWN.map((name) => [name, null])),
    };
    const answer = await service.predict(sent);
    const mask = task === "segmentation" ? await service.picture(answer.mask_path_relative) : null;
    if (isWanted()) showResult({ task, part, sent, answer, blob, mask, key: JSON.stringify(crop) });
  });

const UNKNOWN = ["mask_name", "mask_path_relative", "seg_target_info", "class_label_index", "class_label_name"];

function picked(record, names) {
  return Object.fromEntries(names.map((name) => [name, record[name]]));
}

/** What the box holds becomes a picture of its own, uploaded; the same box is not uploaded twice. */
async function cutOut(crop) {
  const key = JSON.stringify(crop);
  if (chosen.cut?.key !== key) {
    let blob;
    try {
      blob = await editor.cut(crop);
    } catch {
      throw new Error(say("failedToCut"));
    }
    const stem = chosen.record.img_name.replace(/\.[^.]*$/, "");
    chosen.cut = { key, blob, record: await service.upload(blob, `${stem}_crop.png`) };
  }
  return chosen.cut;
}

// --- what is shown ---

async function showResult(found) {
  shown = found;
  const place = $("result");
  if (!found) {
    const told = document.createElement("p");
    told.className = "quiet-text";
    told.textContent = say("noResult");
    place.replaceChildren(told);
    return;
  }
  const { task, part, sent, answer, blob, mask } = found;
  const stale = result.warning(say("stale"));
  stale.id = "stale";
  const heading = document.createElement("p");
  heading.className = "heading";
  heading.textContent = `${say(task)} · ${partName(part)}`;
  const notes = [answer.note].filter(Boolean).map(result.warning);
  const finding = task === "segmentation" ? await result.overlay(blob, mask) : result.bars(answer, part);
  if (shown !== found) return;
  place.replaceChildren(
    stale,
    heading,
    ...notes,
    finding,
    result.figures(answer),
    result.disclosure("sent", sent),
    result.disclosure("got", answer),
  );
  place.dataset.shown = task;
  markStale();
}

/** A result must not be read as one of what is on the stage now. */
function markStale() {
  const stale = $("stale");
  if (!stale || !shown) return;
  stale.hidden = shown.part === chosen.part && shown.key === JSON.stringify(editor.crop);
}

function refresh() {
  const isOpen = editor.isOpen;
  markStale();
  $("empty").hidden = isOpen;
  document.body.toggleAttribute("data-busy", busy > 0);
  for (const id of ["turn-left", "turn-right", "tilt", "zoom-in", "zoom-out", "reset"]) $(id).disabled = !isOpen;
  for (const id of ["upload", "sample"]) $(id).disabled = busy > 0 || !chosen.part;
  $("analyse").disabled = busy > 0 || !isOpen || !chosen.part;
  const isAnalysing = busy > 0 && isOpen;
  $("analyse").textContent = say(isAnalysing ? "analysing" : "analyse");
  if (!isOpen) {
    if (busy === 0) $("status").textContent = "";
    return;
  }
  const tilt = Math.round(editor.tilted * 2) / 2;
  $("tilt").value = String(tilt);
  $("tilt-value").textContent = `${tilt}°`;
  if (busy === 0) $("status").textContent = status();
}

function status() {
  const { width, height } = editor.picture;
  const crop = editor.crop;
  const size = crop ? `${say("selection")} ${crop.width}×${crop.height}` : say("nothingSelected");
  const change = crop?.isWhole ? say("original") : `${say("changed")} · ${turned()}`;
  return [chosen.record?.img_name, `${width}×${height}`, size, change].filter(Boolean).join("  ·  ");
}

function turned() {
  const angle = ((editor.view.angle % 360) + 360) % 360;
  return `${Math.round(angle * 10) / 10}°`;
}

// --- errors and the key ---

function failed(error, retry) {
  if (error instanceof service.Refused && error.status === 401) {
    again = retry;
    $("key").hidden = false;
    $("key-told").textContent = say(service.readKey() ? "keyWrong" : "keyWhy");
    $("key-value").focus();
    return;
  }
  showError(explained(error));
}

function explained(error) {
  if (error instanceof service.Refused) {
    const code = [error.status, error.code].filter(Boolean).join(" ");
    // The name of the field is for programs.
    const field = error.answer?.detail?.field;
    const text = field && error.message.startsWith(`${field}：`) ? error.message.slice(field.length + 1) : error.message;
    return `${text || say("odd")}（${code}）`;
  }
  if (error.name === "TimeoutError") return say("late");
  if (error instanceof TypeError) return say("away");
  if (error instanceof SyntaxError) return say("odd");
  return error.message;
}

function showError(text) {
  $("error-text").textContent = text;
  $("error").hidden = false;
}

function hideError() {
  $("error").hidden = true;
}

$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = $("key-value").value.trim();
  if (!service.isKey(key)) {
    $("key-told").textContent = say("keyBad");
    return;
  }
  service.keepKey(key);
  $("key-value").value = "";
  $("key").hidden = true;
  again?.();
});

// --- hands ---

$("error-close").addEventListener("click", hideError);
$("upload").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  // The same file may be chosen again.
  if (file) uploadFile(file).finally(() => ($("file").value = ""));
});
$("sample").addEventListener("click", drawSample);
$("analyse").addEventListener("click", analyse);
$("turn-left").addEventListener("click", () => editor.turn(-1));
$("turn-right").addEventListener("click", () => editor.turn(1));
$("zoom-in").addEventListener("click", () => editor.zoom(1.25));
$("zoom-out").addEventListener("click", () => editor.zoom(0.8));
$("reset").addEventListener("click", () => editor.reset());
$("tilt").addEventListener("input", () => editor.tilt(Number($("tilt").value)));
editor.addEventListener("change", refresh);
for (const radio of document.querySelectorAll("input[name=task]")) {
  radio.addEventListener("change", () => choose(radio.value));
}

for (const name of ["dragenter", "dragover"]) {
  $("stage").addEventListener(name, (event) => {
    event.preventDefault();
    $("stage").classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  $("stage").addEventListener(name, () => $("stage").classList.remove("over"));
}
// A picture that misses the stage would otherwise replace the page.
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
$("stage").addEventListener("drop", (event) => {
  const [file] = event.dataTransfer.files;
  if (file && busy === 0 && chosen.part) uploadFile(file);
});

$("language").addEventListener("click", () => {
  speak(!speaksEnglish());
  sessionStorage.setItem(LANGUAGE, speaksEnglish() ? "en" : "zh");
  showParts();
  showResult(shown);
});

speak(sessionStorage.getItem(LANGUAGE) === "en");
showResult(null);
loadParts();
