// The server's answers, or, in a page exported by `nnbackprop lab --export`, those kept in lab.json.

export const isStatic = document.documentElement.dataset.mode === "static";

export class ApiError extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  throw new ApiError(body.error?.kind ?? "internal", body.error?.message ?? `HTTP ${response.status}`);
}

const offline = (error) => {
  if (error instanceof ApiError) throw error;
  throw new ApiError("offline", "");
};

export const get = (path) => fetch(path).then(answer).catch(offline);

export const post = (path, body) =>
  fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).then(answer).catch(offline);

let kept;
/** What an exported page was written with: {options, step, draw}. */
export const exported = () => (kept ??= get("lab.json"));
export const options = () => (isStatic ? exported().then((all) => all.options) : get("api/options"));
