// @ts-check

/** @typedef {{title?: string, facts?: [string, string][]}} ThroughputState */

/** Cuts each fact into its name, the number that matters, and the rest of the sentence. @param {ThroughputState} state */
export function layoutFacts(state) {
  return (state.facts ?? []).map(([name, words]) => {
    const at = words.search(/, |: | now/);
    if (at < 0) return { name, first: words, rest: "" };
    return {
      name,
      first: words.slice(0, at),
      rest: words
        .slice(at)
        .replace(/^[,:]\s*/, "")
        .trim(),
    };
  });
}
