import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { StoppableText } from "../../../runtime/generation/stop-strings.ts";

describe("stop strings", () => {
  /** A decoder whose ids are parts of a text. */
  const over = (parts: string[], stops: string[]) => {
    const text = new StoppableText({ push: (id) => parts[id], end: () => "" }, stops);
    let said = "";
    for (let id = 0; id < parts.length && !text.stopped; id++) said += text.push(id);
    return { said: said + text.end(), stopped: text.stopped };
  };

  test("however the text is cut, it ends before the first", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(
        fc.array(letters, { maxLength: 12 }),
        fc.array(letters, { maxLength: 3 }),
        (parts, stops) => {
          const text = parts.join("");
          // The first that is complete; of those that are complete together, the one that began first.
          const ends = stops.flatMap((s) => (text.includes(s) ? [text.indexOf(s) + s.length] : []));
          const { said, stopped } = over([...text], stops);
          expect(stopped).toBe(ends.length > 0);
          if (!stopped) {
            expect(said).toBe(text);
            expect(over(parts, stops)).toEqual({ said: text, stopped: false });
          } else {
            const complete = text.slice(0, Math.min(...ends));
            const begins = stops.filter((s) => complete.endsWith(s)).map((s) => complete.length - s.length);
            expect(said).toBe(text.slice(0, Math.min(...begins)));
            expect(over(parts, stops).stopped).toBe(true);
          }
        },
      ),
    );
  });

  test("one that repeats itself", () => {
    expect(over(["aa", "a", "ab"], ["aab"]).said).toBe("aa");
    expect(over(["abab", "abc", "d"], ["ababc"]).said).toBe("ab");
  });
});
