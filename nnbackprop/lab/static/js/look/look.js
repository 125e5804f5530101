export function lookTab() {
  return { start() {} };
}
