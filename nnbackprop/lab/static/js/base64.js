// Base64, as bytes are written in JSON.

export function decode(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let k = 0; k < bytes.length; k += 1) bytes[k] = raw.charCodeAt(k);
  return bytes;
}

export const decodeFloats = (text) => new Float32Array(decode(text).buffer);
export const encode = (bytes) => btoa(String.fromCharCode(...bytes));
