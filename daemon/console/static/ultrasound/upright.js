// A JPEG may say "show me turned": browsers obey, the models see the stored pixels. So that both see the same, such a
// picture is drawn upright before it is sent.

/** Of EXIF, 1 to 8; 1 where nothing is said. */
export function orientationOf(buffer) {
  const view = new DataView(buffer);
  if (view.byteLength < 4 || view.getUint16(0) !== 0xffd8) return 1;
  let at = 2;
  while (at + 4 <= view.byteLength) {
    const marker = view.getUint16(at);
    const length = view.getUint16(at + 2);
    if (marker >> 8 !== 0xff || marker === 0xffda || length < 2) return 1;
    if (marker === 0xffe1 && at + 10 <= view.byteLength && view.getUint32(at + 4) === 0x45786966) {
      return fromTiff(view, at + 10, Math.min(at + 2 + length, view.byteLength));
    }
    at += 2 + length;
  }
  return 1;
}

function fromTiff(view, start, end) {
  if (start + 8 > end) return 1;
  const isLittle = view.getUint16(start) === 0x4949;
  const table = start + view.getUint32(start + 4, isLittle);
  if (table + 2 > end) return 1;
  const count = view.getUint16(table, isLittle);
  for (let entry = table + 2; entry + 12 <= end && entry < table + 2 + 12 * count; entry += 12) {
    if (view.getUint16(entry, isLittle) === 0x0112) {
      const value = view.getUint16(entry + 8, isLittle);
      return value >= 1 && value <= 8 ? value : 1;
    }
  }
  return 1;
}

/** The file itself, or a PNG of what the browser shows of it, with the name that goes with it. */
export async function upright(file) {
  // EXIF stands at the beginning.
  if (orientationOf(await file.slice(0, 256 * 1024).arrayBuffer()) === 1) return { blob: file, name: file.name };
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  bitmap.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("canvas");
  return { blob, name: `${file.name.replace(/\.[^.]*$/, "")}.png` };
}
