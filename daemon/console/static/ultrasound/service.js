// The API, and nothing else: paths from the site's own root, the key where one is asked for, a deadline on every call.

const ROOT = "/imaging/ultrasound";
const KEY = "orwatch-api-key";
const SHORT_MS = 60_000;
// A call may wait for others before its turn.
const LONG_MS = 420_000;

export class Refused extends Error {
  constructor(status, code, message, answer) {
    super(message);
    Object.assign(this, { status, code, answer });
  }
}

export function readKey() {
  return sessionStorage.getItem(KEY) ?? "";
}

export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** What a header can carry. */
export function isKey(key) {
  return /^[\x21-\x7e]{1,256}$/.test(key);
}

async function call(path, { timeout = SHORT_MS, headers = {}, ...options } = {}) {
  const key = readKey();
  const response = await fetch(path, {
    ...options,
    headers: key ? { ...headers, "X-API-Key": key } : headers,
    cache: "no-store",
    credentials: "omit",
    signal: AbortSignal.timeout(timeout),
  });
  if (response.ok) return response;
  const text = await response.text();
  let answer = text.slice(0, 2000);
  try {
    answer = JSON.parse(text);
  } catch {
    // A proxy's page: the status tells more than its text.
  }
  const detail = answer?.detail ?? {};
  throw new Refused(response.status, detail.code ?? "", detail.message ?? answer?.error ?? "", answer);
}

export async function parts() {
  return await (await call(`${ROOT}/parts`)).json();
}

export async function sample(task, dataset) {
  const query = new URLSearchParams({ task, dataset_name: dataset });
  return await (await call(`${ROOT}/random_sample?${query}`)).json();
}

export async function upload(blob, name) {
  const form = new FormData();
  form.append("file", blob, name);
  return await (await call(`${ROOT}/upload`, { method: "POST", body: form, timeout: LONG_MS })).json();
}

export async function predict(record) {
  const response = await call(`${ROOT}/predict`, {
    method: "POST",
    body: JSON.stringify(record),
    headers: { "Content-Type": "application/json" },
    timeout: LONG_MS,
  });
  return await response.json();
}

/** A picture that a record or an answer names by its relative path. */
export async function picture(relative) {
  const [first, ...rest] = relative.split("/");
  const shelf = { api_in: "uploads", api_out: "answers" }[first];
  const inside = (shelf ? rest : [first, ...rest]).map(encodeURIComponent).join("/");
  return await (await call(`${ROOT}/${shelf ?? "data"}/${inside}`)).blob();
}
