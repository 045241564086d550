// Where the picture lies on the stage, and which of its own pixels the box holds. Pure: no DOM, no state.
//
// A view is {zoom, angle, x, y}: screen pixels per pixel of the picture, degrees clockwise, and the picture's centre on
// the stage. A box is {x, y, width, height} on the stage. A matrix is cropperjs's [a, b, c, d, e, f], about the
// picture's centre.

const QUARTER_WITHIN = 0.01;

export function readMatrix([a, b, , , e, f], picture) {
  const angle = (Math.atan2(b, a) * 180) / Math.PI;
  return { zoom: Math.hypot(a, b), angle, x: picture.width / 2 + e, y: picture.height / 2 + f };
}

export function matrixOf({ zoom, angle, x, y }, picture) {
  const [cos, sin] = turn(angle);
  return [zoom * cos, zoom * sin, -zoom * sin, zoom * cos, x - picture.width / 2, y - picture.height / 2];
}

/** Exact for quarter turns: the cosine of 90 degrees is not quite 0. */
function turn(angle) {
  const quarter = quarterOf(angle);
  if (quarter !== null) {
    return [[1, 0], [0, 1], [-1, 0], [0, -1]][quarter];
  }
  const radians = (angle * Math.PI) / 180;
  return [Math.cos(radians), Math.sin(radians)];
}

/** 0 to 3, or null where the angle is no quarter turn. */
export function quarterOf(angle) {
  const quarters = Math.round(angle / 90);
  return Math.abs(angle - quarters * 90) < QUARTER_WITHIN ? ((quarters % 4) + 4) % 4 : null;
}

/** Of the turned picture, in its own pixels. */
export function sizeOf(angle, picture) {
  const [cos, sin] = turn(angle).map(Math.abs);
  return { width: picture.width * cos + picture.height * sin, height: picture.width * sin + picture.height * cos };
}

/** The whole turned picture in the middle of the stage, with a margin to grasp the box by. */
export function fitted(angle, picture, stage, margin) {
  const size = sizeOf(angle, picture);
  const zoom = Math.min((stage.width - 2 * margin) / size.width, (stage.height - 2 * margin) / size.height);
  return { zoom: Math.max(zoom, 1e-3), angle, x: stage.width / 2, y: stage.height / 2 };
}

/** The box around the whole picture. */
export function around(view, picture) {
  const size = sizeOf(view.angle, picture);
  const [width, height] = [size.width * view.zoom, size.height * view.zoom];
  return { x: view.x - width / 2, y: view.y - height / 2, width, height };
}

/** Turned and zoomed with a point of the stage held where it is. */
export function about(view, point, { angle = 0, zoom = 1 }) {
  const [cos, sin] = turn(angle);
  const [dx, dy] = [view.x - point.x, view.y - point.y];
  return {
    zoom: view.zoom * zoom,
    angle: view.angle + angle,
    x: point.x + zoom * (dx * cos - dy * sin),
    y: point.y + zoom * (dx * sin + dy * cos),
  };
}

export function middleOf(box) {
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

/** Picture and box turned together about the middle of the stage, and made smaller where the box would not fit. */
export function turnedTogether(view, box, quarters, stage, margin) {
  const centre = { x: stage.width / 2, y: stage.height / 2 };
  const isUpright = quarters % 2 === 0;
  const [width, height] = isUpright ? [box.width, box.height] : [box.height, box.width];
  const zoom = Math.min(1, (stage.width - 2 * margin) / width, (stage.height - 2 * margin) / height);
  const middle = middleOf(box);
  const centred = { ...view, x: view.x + centre.x - middle.x, y: view.y + centre.y - middle.y };
  return {
    view: about(centred, centre, { angle: quarters * 90, zoom }),
    box: {
      x: centre.x - (width * zoom) / 2,
      y: centre.y - (height * zoom) / 2,
      width: width * zoom,
      height: height * zoom,
    },
  };
}

/**
 * What the box holds, in the picture's own pixels: {width, height, matrix, quarter, isWhole}, or null for nothing.
 *
 * matrix: for a canvas of that size, to draw the picture with. Where the angle is a quarter turn the matrix is whole
 * numbers, so that every pixel arrives as it is. Beyond the picture's edges nothing is added.
 */
export function cropOf(view, picture, box) {
  const quarter = quarterOf(view.angle);
  const [cos, sin] = turn(view.angle);
  const size = sizeOf(view.angle, picture);
  const middle = { x: (view.x - box.x) / view.zoom, y: (view.y - box.y) / view.zoom };
  let [left, top] = [middle.x - size.width / 2, middle.y - size.height / 2];
  if (quarter !== null) {
    [left, top] = [Math.round(left), Math.round(top)];
  }
  const x0 = Math.max(0, Math.floor(left + 1e-6));
  const y0 = Math.max(0, Math.floor(top + 1e-6));
  const x1 = Math.min(Math.round(box.width / view.zoom), Math.ceil(left + size.width - 1e-6));
  const y1 = Math.min(Math.round(box.height / view.zoom), Math.ceil(top + size.height - 1e-6));
  const [width, height] = [x1 - x0, y1 - y0];
  if (width < 1 || height < 1) {
    return null;
  }
  // The picture's centre on the canvas, then its upper left corner.
  const [cx, cy] = [left + size.width / 2 - x0, top + size.height / 2 - y0];
  const e = cx - (cos * picture.width) / 2 + (sin * picture.height) / 2;
  const f = cy - (sin * picture.width) / 2 - (cos * picture.height) / 2;
  const isWhole = quarter === 0 && width === picture.width && height === picture.height;
  return { width, height, matrix: [cos, sin, -sin, cos, e, f], quarter, isWhole };
}
