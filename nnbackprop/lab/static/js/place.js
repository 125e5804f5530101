// What the address says after #: the tab, and the state of that tab.

/** The fragment's words that belong to a tab, or "" where another is open. */
export function fragment(tab) {
  const [name, ...rest] = location.hash.slice(1).split("?");
  return name === tab ? rest.join("?") : "";
}

export const openTab = () => location.hash.slice(1).split("?")[0];

const kept = {};

/** The state of a tab, open or not. */
export const fragmentOf = (tab) => fragment(tab) || kept[tab] || "";

/** Put a tab's state into the address, if it is the one that is open; it is kept for when it will be. */
export function setFragment(tab, words) {
  kept[tab] = words;
  if (openTab() === tab) history.replaceState(null, "", `#${tab}${words && `?${words}`}`);
}

export function showPlace(tab) {
  const words = fragmentOf(tab);
  history.replaceState(null, "", `#${tab}${words && `?${words}`}`);
}
