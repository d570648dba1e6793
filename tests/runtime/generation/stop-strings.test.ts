import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { StoppableText } from "../../../runtime/generation/stop-strings.ts";

describe("stop strings", () => {
  /** Releases the parts of a text through a decoder whose ids are their indices. */
  const release = (parts: string[], stops: string[]) => {
    const text = new StoppableText({ push: (id) => parts[id], end: () => "" }, stops);
    let released = "";
    for (let id = 0; id < parts.length && !text.stopped; id++) released += text.push(id);
    return { released: released + text.end(), stopped: text.stopped };
  };

  test("text ends before the first stop string, however it is split", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(
        fc.array(letters, { maxLength: 12 }),
        fc.array(letters, { maxLength: 3 }),
        (parts, stops) => {
          const text = parts.join("");
          // The stop string that is complete first; among those complete at the same character, the one that begins first.
          const ends = stops.flatMap((s) => (text.includes(s) ? [text.indexOf(s) + s.length] : []));
          const { released, stopped } = release([...text], stops);
          expect(stopped).toBe(ends.length > 0);
          if (!stopped) {
            expect(released).toBe(text);
            expect(release(parts, stops)).toEqual({ released: text, stopped: false });
          } else {
            const complete = text.slice(0, Math.min(...ends));
            const begins = stops.filter((s) => complete.endsWith(s)).map((s) => complete.length - s.length);
            expect(released).toBe(text.slice(0, Math.min(...begins)));
            expect(release(parts, stops).stopped).toBe(true);
          }
        },
      ),
    );
  });

  test("a stop string whose prefix repeats is found", () => {
    expect(release(["aa", "a", "ab"], ["aab"]).released).toBe("aa");
    expect(release(["abab", "abc", "d"], ["ababc"]).released).toBe("ab");
  });
});
