// The stage: cropperjs shows the picture and the box and takes the gestures; geometry.js says what they mean.

import "./vendor/cropper.esm.min.js";

import * as geometry from "./geometry.js";

const MARGIN = 16;
const ZOOM_RANGE = 40;

const HANDLES = ["n", "e", "s", "w", "ne", "nw", "se", "sw"];

export class Editor extends EventTarget {
  /** Emits "change" whenever the picture or the box moved. */
  constructor(host) {
    super();
    this.host = host;
    this.picture = null;
    this.stage = null;
    this.fit = null;
    new ResizeObserver(() => this.#resized()).observe(host);
    host.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Shows a picture, whole. Rejects with what the browser says of one that it cannot show. */
  async open(blob) {
    this.close();
    const url = URL.createObjectURL(blob);
    try {
      const image = new Image();
      image.src = url;
      await image.decode();
      await this.#build(url);
      this.element = image;
      this.picture = { width: image.naturalWidth, height: image.naturalHeight };
    } catch (error) {
      this.close();
      URL.revokeObjectURL(url);
      throw error;
    }
    this.url = url;
    this.reset();
  }

  close() {
    this.canvas?.remove();
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = this.canvas = this.image = this.selection = this.picture = null;
  }

  get isOpen() {
    return this.picture !== null;
  }

  /** Upright, whole, in the middle. */
  reset() {
    if (!this.isOpen) return;
    this.stage = this.#size();
    this.fit = geometry.fitted(0, this.picture, this.stage, MARGIN);
    this.#place(this.fit, geometry.around(this.fit, this.picture));
  }

  /** Quarters of a turn, clockwise. */
  turn(quarters) {
    if (!this.isOpen) return;
    const { view, box } = geometry.turnedTogether(this.view, this.box, quarters, this.stage, MARGIN);
    this.#place(view, box);
  }

  /** To this many degrees from the nearest quarter turn. */
  tilt(degrees) {
    if (!this.isOpen) return;
    const angle = this.upright + degrees - this.view.angle;
    this.#place(geometry.about(this.view, geometry.middleOf(this.box), { angle }), this.box);
  }

  zoom(factor) {
    if (!this.isOpen) return;
    const wanted = Math.min(Math.max(this.view.zoom * factor, this.fit.zoom / 4), this.fit.zoom * ZOOM_RANGE);
    const zoom = wanted / this.view.zoom;
    this.#place(geometry.about(this.view, geometry.middleOf(this.box), { zoom }), this.box);
  }

  get view() {
    return geometry.readMatrix(this.image.$getTransform(), this.picture);
  }

  get box() {
    const { x, y, width, height } = this.selection;
    return { x, y, width, height };
  }

  /** The quarter turn that the picture is nearest to, and how far it is tilted from there. */
  get upright() {
    return Math.round(this.view.angle / 90) * 90;
  }

  get tilted() {
    return this.view.angle - this.upright;
  }

  /** What would be analysed; null for nothing. */
  get crop() {
    return this.isOpen ? geometry.cropOf(this.view, this.picture, this.box) : null;
  }

  /** What the box holds, at the picture's own resolution, as PNG. Rejects where the browser cannot make it. */
  async cut(crop) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [crop.width, crop.height];
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) throw new Error("canvas");
    context.fillStyle = "#000";
    context.fillRect(0, 0, crop.width, crop.height);
    context.imageSmoothingEnabled = crop.quarter === null;
    context.imageSmoothingQuality = "high";
    context.setTransform(...crop.matrix);
    context.drawImage(this.element, 0, 0);
    return await new Promise((resolve, reject) => {
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("canvas"))), "image/png");
    });
  }

  async #build(url) {
    const make = (name, attributes = {}, ...children) => {
      const element = document.createElement(name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      element.append(...children);
      return element;
    };
    this.image = make("cropper-image", { rotatable: "", scalable: "", translatable: "" });
    this.selection = make(
      "cropper-selection",
      { movable: "", resizable: "", precise: "" },
      make("cropper-grid", { bordered: "", covered: "", "theme-color": "rgba(255, 255, 255, 0.28)" }),
      make("cropper-handle", { action: "move", "theme-color": "transparent" }),
      ...HANDLES.map((side) => make("cropper-handle", { action: `${side}-resize`, "theme-color": "#ffd166" })),
    );
    this.canvas = make(
      "cropper-canvas",
      { "scale-step": "0.08" },
      this.image,
      make("cropper-shade", { "theme-color": "rgba(0, 0, 0, 0.62)" }),
      make("cropper-handle", { action: "move", plain: "", "theme-color": "transparent" }),
      this.selection,
    );
    this.selection.addEventListener("change", (event) => this.#keepInside(event));
    this.image.addEventListener("transform", () => this.#later());
    this.host.append(this.canvas);
    // cropperjs places the picture on its own when it is loaded; ours comes after that.
    const loaded = new Promise((resolve, reject) => {
      this.image.$image.addEventListener("load", resolve, { once: true });
      this.image.$image.addEventListener("error", reject, { once: true });
    });
    this.image.setAttribute("src", url);
    await loaded;
  }

  /** The box stays on the stage: what cannot be seen cannot be grasped. */
  #keepInside(event) {
    if (!this.isOpen) return;
    const { x, y, width, height } = event.detail;
    const over = Math.max(-x, -y, x + width - this.stage.width, y + height - this.stage.height);
    if (over > 1 && !this.isPlacing) event.preventDefault();
    this.#later();
  }

  #later() {
    // The event comes before the change that it tells of.
    queueMicrotask(() => this.isOpen && this.dispatchEvent(new Event("change")));
  }

  #place(view, box) {
    this.isPlacing = true;
    this.image.$setTransform(geometry.matrixOf(view, this.picture));
    this.selection.$change(box.x, box.y, box.width, box.height);
    this.isPlacing = false;
  }

  #size() {
    return { width: this.host.clientWidth, height: this.host.clientHeight };
  }

  #resized() {
    const now = this.#size();
    if (!this.isOpen || !this.stage || now.width < 50 || now.height < 50) return;
    if (this.crop?.isWhole) {
      this.reset();
      return;
    }
    const before = this.stage;
    const zoom = Math.min(now.width / before.width, now.height / before.height);
    const moved = (point) => ({
      x: now.width / 2 + (point.x - before.width / 2) * zoom,
      y: now.height / 2 + (point.y - before.height / 2) * zoom,
    });
    const { view, box } = this;
    this.stage = now;
    this.fit = geometry.fitted(0, this.picture, now, MARGIN);
    this.#place(
      { ...view, ...moved(view), zoom: view.zoom * zoom },
      { ...moved(box), width: box.width * zoom, height: box.height * zoom },
    );
  }

  #key(event) {
    if (!this.isOpen || event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      "+": () => this.zoom(1.25),
      "=": () => this.zoom(1.25),
      "-": () => this.zoom(0.8),
      0: () => this.reset(),
      "[": () => this.turn(-1),
      "]": () => this.turn(1),
      ",": () => this.tilt(Math.max(this.tilted - 1, -44)),
      ".": () => this.tilt(Math.min(this.tilted + 1, 44)),
      ArrowLeft: () => this.#nudge(-1, 0, event.shiftKey),
      ArrowRight: () => this.#nudge(1, 0, event.shiftKey),
      ArrowUp: () => this.#nudge(0, -1, event.shiftKey),
      ArrowDown: () => this.#nudge(0, 1, event.shiftKey),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  /** The box moved, or its lower right corner. */
  #nudge(dx, dy, isResize) {
    const step = 8;
    const { x, y, width, height } = this.box;
    if (isResize) {
      this.selection.$change(x, y, Math.max(width + dx * step, step), Math.max(height + dy * step, step));
    } else {
      this.selection.$change(x + dx * step, y + dy * step, width, height);
    }
  }
}
