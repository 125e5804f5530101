export function drawTab() {
  return { start() {} };
}
