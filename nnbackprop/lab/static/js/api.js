// The server's answers, or, in a page exported by `nnbackprop lab --export`, those kept in lab.json.

export const isStatic = document.documentElement.dataset.mode === "static";

export class ApiError extends Error {
  constructor(kind, message, id = "", values = {}) {
    super(message);
    Object.assign(this, { kind, id, values }); // what the page has in other languages has an id
  }
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  const { kind = "internal", message = `HTTP ${response.status}`, id, values } = body.error ?? {};
  throw new ApiError(kind, message, id, values);
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
