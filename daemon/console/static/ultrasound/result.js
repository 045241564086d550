// What came back: bars of the classes, or the mask over the picture that was analysed.

import { labelNames, say } from "./words.js";

const SIDE_MAX = 1600;
const MASK = [64, 224, 208];

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** answer: of a classification. part: with its labels and its note. */
export function bars(answer, part) {
  const list = element("ol", { class: "bars" });
  answer.probability.forEach((probability, index) => {
    const [first, second] = labelNames(part.labels[index] ?? { name: String(index), name_zh: String(index) });
    const bar = element("progress", { max: "1", value: String(probability), "aria-label": first });
    const percent = `${(probability * 100).toFixed(1)} %`;
    const isFound = index === answer.prediction;
    list.append(
      element(
        "li",
        isFound ? { class: "found", "aria-current": "true" } : {},
        element("span", { class: "label", text: first }, element("small", { text: second })),
        element("span", { class: "percent", text: percent }),
        bar,
      ),
    );
  });
  return list;
}

export function warning(text) {
  return element("p", { class: "warning", role: "note", text });
}

/** picture, mask: blobs. Its slider sets how much of the mask is seen; the outline stays. */
export async function overlay(picture, mask) {
  const [below, above] = await Promise.all([createImageBitmap(picture), createImageBitmap(mask)]);
  const scale = Math.min(1, SIDE_MAX / Math.max(below.width, below.height));
  const size = [Math.max(1, Math.round(below.width * scale)), Math.max(1, Math.round(below.height * scale))];
  const share = shareOf(above);
  const view = element("div", { class: "overlay" });
  const seen = drawn(below, size, true);
  const fill = drawn(above, size, false);
  const line = element("canvas", { width: size[0], height: size[1], class: "outline" });
  painted(fill, line);
  fill.classList.add("fill");
  view.append(seen, fill, line);
  below.close();
  above.close();

  const slider = element("input", { type: "range", min: "0", max: "100", value: "45", id: "opacity" });
  const show = () => {
    fill.style.opacity = String(Number(slider.value) / 100);
  };
  slider.addEventListener("input", show);
  show();
  const toggle = element("input", { type: "checkbox", id: "outline", checked: "" });
  toggle.addEventListener("change", () => line.toggleAttribute("hidden", !toggle.checked));
  const controls = element(
    "div",
    { class: "row" },
    element("label", { for: "opacity", text: say("opacity") }),
    slider,
    element("label", { class: "check" }, toggle, element("span", { text: say("outline") })),
  );
  const told = share > 0 ? `${say("area")} ${(share * 100).toFixed(2)} %` : say("emptyMask");
  return element("div", {}, view, controls, element("p", { class: "told", text: told }));
}

function drawn(bitmap, [width, height], isSmooth) {
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: !isSmooth });
  context.imageSmoothingEnabled = isSmooth;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return canvas;
}

/** White becomes the colour of the mask, black becomes nothing; its edge goes onto the other canvas. */
function painted(fill, line) {
  const { width, height } = fill;
  const context = fill.getContext("2d");
  const pixels = context.getImageData(0, 0, width, height);
  const { data } = pixels;
  const inside = new Uint8Array(width * height);
  for (let index = 0; index < inside.length; index += 1) inside[index] = data[4 * index] > 127 ? 1 : 0;
  const edge = new ImageData(width, height);
  const reach = Math.max(1, Math.round(Math.max(width, height) / 250));
  for (let y = 0, index = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, index += 1) {
      const at = 4 * index;
      if (!inside[index]) {
        data[at + 3] = 0;
        continue;
      }
      data.set([...MASK, 255], at);
      const isEdge =
        x < reach || y < reach || x >= width - reach || y >= height - reach ||
        !inside[index - reach] || !inside[index + reach] ||
        !inside[index - reach * width] || !inside[index + reach * width];
      if (isEdge) edge.data.set([255, 209, 102, 255], at);
    }
  }
  context.putImageData(pixels, 0, 0);
  line.getContext("2d").putImageData(edge, 0, 0);
}

/** Of all its pixels, those that are white: counted at full size, in strips. */
function shareOf(bitmap) {
  const rows = Math.max(1, Math.min(bitmap.height, Math.floor(2_000_000 / bitmap.width)));
  const canvas = new OffscreenCanvas(bitmap.width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  let count = 0;
  for (let top = 0; top < bitmap.height; top += rows) {
    const height = Math.min(rows, bitmap.height - top);
    context.drawImage(bitmap, 0, top, bitmap.width, height, 0, 0, bitmap.width, height);
    const { data } = context.getImageData(0, 0, bitmap.width, height);
    for (let at = 0; at < data.length; at += 4) count += data[at] > 127 ? 1 : 0;
  }
  return count / (bitmap.width * bitmap.height);
}

export function figures(answer) {
  const rows = [
    ["time", `${answer.inference_time_sec.toFixed(4)} ${say("seconds")}`],
    ["memory", `${answer.memory_usage_mb.toFixed(2)} MB`],
    ["gpuUsed", `${answer.gpu_memory_usage_mb.toFixed(2)} MB`],
    ["gpuReserved", `${answer.gpu_memory_reserved_mb.toFixed(2)} MB`],
  ];
  const list = element("dl", { class: "figures" });
  for (const [word, value] of rows) {
    list.append(element("div", {}, element("dt", { text: say(word) }), element("dd", { text: value })));
  }
  return list;
}

export function disclosure(word, content) {
  const text = JSON.stringify(content, null, 2);
  return element("details", {}, element("summary", { text: say(word) }), element("pre", { tabindex: "0", text }));
}
