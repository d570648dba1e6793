import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { trainBpe } from "../../../runtime/text/train-bpe.ts";
import { cutBefore, documentFiles, readDocuments } from "../../../trainer/data/documents.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { errorText } from "./expect-error.ts";

/** The documents of files with the given contents, with their parts concatenated. */
function documents(files: Record<string, string | Uint8Array>): string[] {
  const folder = temporaryFolder(files);
  const found = [""];
  for (const { text, ends } of readDocuments(Object.keys(files).map((name) => join(folder, name)))) {
    found.push(found.pop() + text);
    if (ends) found.push("");
  }
  expect(found.pop()).toBe("");
  return found;
}

const MIB = 1 << 20;
const SEPARATOR = "\n\n<|endoftext|>\n\n";

describe("text files", () => {
  test("documents are separated by separators on their own lines", () => {
    expect(documents({ "a.txt": `One\n\ntwo.${SEPARATOR}Three.\n` })).toEqual(["One\n\ntwo.", "Three."]);
    expect(documents({ "a.txt": "One.\n<|endoftext|>\nTwo." })).toEqual(["One.", "Two."]);
    expect(documents({ "a.txt": "One.\r\n\r\n<|endoftext|>\r\n\r\nTwo.\r\n" })).toEqual(["One.", "Two."]);
    expect(documents({ "a.txt": `<|endoftext|>\n\nOne.${SEPARATOR}${SEPARATOR}` })).toEqual(["One."]);
    expect(documents({ "a.txt": "One.\n<|endoftext|>" })).toEqual(["One."]);
  });

  test("a separator within a line is text", () => {
    const text = "Say <|endoftext|>\n<|endoftext|>!\nx<|endoftext|>";
    expect(documents({ "a.txt": text })).toEqual([text]);
  });

  test("the end of a file ends its document", () => {
    expect(documents({ "a.txt": "One", "b.txt": "", "c.txt": "Two" })).toEqual(["One", "Two"]);
  });

  test("a byte order mark is not text", () => {
    expect(documents({ "a.txt": "\u{feff}One" })).toEqual(["One"]);
  });

  test("any documents survive a round trip", () => {
    const document = fc.string({ unit: fc.constantFrom("a", "é", "😀", " ", "\n", "<", "|", ".") });
    const trimmed = fc.array(document.map((text) => text.trim()).filter(Boolean), { minLength: 1 });
    fc.assert(
      fc.property(trimmed, (texts) => {
        expect(documents({ "a.txt": texts.join(SEPARATOR) })).toEqual(texts);
      }),
      { numRuns: 50 },
    );
  });

  test("chunk boundaries do not affect the documents", () => {
    // A separator, and a character of four bytes, across the end of the first MiB.
    for (let shift = 0; shift <= 20; shift += 2) {
      const first = "word "
        .repeat(MIB)
        .slice(0, MIB - shift)
        .trimEnd();
      expect(documents({ "a.txt": `${first}${SEPARATOR}Two.` })).toEqual([first, "Two."]);
    }
    for (let shift = 1; shift <= 4; shift++) {
      const text = `${"a b".repeat(MIB).slice(0, MIB - shift)}😀 end`;
      expect(documents({ "a.txt": text })).toEqual([text]);
    }
  });
});

test("a line that starts like a separator, across a chunk boundary", () => {
  const text = `${"word ".repeat(MIB).slice(0, MIB - 14)}\n<|endoftext|>!\nThe end.`;
  expect(documents({ "a.txt": text })).toEqual([text]);
});

describe("long documents", () => {
  const words = Array.from({ length: 700_000 }, (_, i) => (i % 17 ? `w${i % 101}` : "and,\n\n so  on"));
  const text = words.join(" ");

  test("are split into parts, whose tokens are those of the document", () => {
    const folder = temporaryFolder({ "a.txt": `${text}${SEPARATOR}Two.` });
    const parts = [...readDocuments([join(folder, "a.txt")])];
    expect(parts.length).toBeGreaterThan(3);
    expect(Math.max(...parts.map((part) => part.text.length))).toBeLessThanOrEqual(2 * MIB);
    expect(parts.filter(({ ends }) => ends)).toHaveLength(2);
    const long = parts.slice(0, -1);
    expect(long.map((part) => part.text).join("") === text).toBe(true);
    const tokenizer = trainBpe([text.slice(0, 20_000)], 400);
    const tokens = long.flatMap((part) => [...tokenizer.encode(part.text)]);
    expect(Bun.deepEquals(tokens, [...tokenizer.encode(text)])).toBe(true);
  });

  test("may have megabytes without a space, or of spaces between two words", () => {
    for (const text of ["x".repeat(3 * MIB), "😀".repeat(MIB), `a${" ".repeat(3 * MIB)}b`]) {
      expect(documents({ "a.txt": text }).map((found) => found === text)).toEqual([true]);
    }
  });

  test("may end with white space", () => {
    const found = documents({ "a.txt": `x${" ".repeat(3 * MIB)}${SEPARATOR}Two.` });
    expect(found.map((document) => document.trim())).toEqual(["x", "Two."]);
  });

  test("are cut after a word, before white space", () => {
    expect(cutBefore("one two three", 9)).toBe(7);
    expect(cutBefore("one two three", 7)).toBe(7);
    expect(cutBefore("one\ntwo", 6)).toBe(3);
    // U+0085 is white space for the tokenizer, but not for JavaScript's \s.
    expect(cutBefore("one\u0085 two", 8)).toBe(8);
    // Otherwise the next part would start with an apparent separator.
    expect(cutBefore("one two <|endoftext|>", 10)).toBe(3);
    expect(cutBefore("xx😀xx", 3)).toBe(4);
  });
});

describe("JSONL", () => {
  test("a document is the text of a line, unchanged", () => {
    const lines = [
      '{"text":"One\\n\\n<|endoftext|>\\n\\nstill one ","id":1}',
      "",
      '{"text":"Two"}\r',
      '{"text":""}',
    ];
    expect(documents({ "a.jsonl": lines.join("\n") })).toEqual(["One\n\n<|endoftext|>\n\nstill one ", "Two"]);
    expect(documents({ "a.ndjson": '{"text":"One"}\n' })).toEqual(["One"]);
  });

  test("errors name the line", async () => {
    const cases = {
      "not JSON": "{text",
      "another type": '{"text":3}',
      "not an object": '"text"',
      nothing: "null",
    };
    for (const wrong of Object.values(cases)) {
      const jsonl = `{"text":"fine"}\n\n${wrong}\n`;
      expect(await errorText("data", () => documents({ "a.jsonl": jsonl }))).toContain("a.jsonl:3: ");
    }
  });
});

describe("input that is not text is an error", () => {
  const cases: Record<string, [Record<string, string | Uint8Array>, string]> = {
    "an empty file": [{ "a.txt": "" }, "contains no text"],
    "white space": [{ "a.txt": " \n\n" }, "contains no text"],
    "separators only": [{ "a.txt": SEPARATOR, "b.txt": "" }, "contains no text"],
    "JSONL without text": [{ "a.jsonl": '{"text":""}\n' }, "contains no text"],
    "a zero byte": [{ "a.txt": "text\0text" }, "a zero byte"],
    "invalid UTF-8": [{ "a.txt": Uint8Array.of(0x61, 0xff, 0x62) }, "invalid UTF-8 between bytes 0 and 3"],
    "an incomplete character": [{ "a.txt": Uint8Array.of(0x61, 0xe2, 0x82) }, "an incomplete character"],
    "UTF-16": [{ "a.txt": Buffer.from("\u{feff}text", "utf16le") }, "a zero byte"],
  };
  for (const [name, [files, expected]] of Object.entries(cases)) {
    test(name, async () => {
      const text = await errorText("data", () => documents(files));
      expect(text).toContain(expected);
      expect(text).toContain("a.");
    });
  }
});

describe("paths", () => {
  test("a file, or the .txt files of a folder in the order of their names", () => {
    const folder = temporaryFolder({
      "b.txt": "",
      "a.txt": "",
      "c.md": "",
      "part-10.txt": "",
      "deep/d.txt": "",
    });
    expect(documentFiles(folder)).toEqual(
      ["a.txt", "b.txt", "part-10.txt"].map((name) => join(folder, name)),
    );
    expect(documentFiles(join(folder, "c.md"))).toEqual([join(folder, "c.md")]);
  });

  test("errors name the path", async () => {
    const folder = temporaryFolder({ "c.md": "", "d/e": "" });
    expect(await errorText("data", () => documentFiles(folder))).toContain(
      "no .txt files; it contains c.md, d",
    );
    const missing = join(folder, "missing.txt");
    expect(await errorText("data", () => documentFiles(missing))).toContain(`${missing}: no such file`);
    expect(await errorText("data", () => [...readDocuments([join(folder, "d")])])).toContain("d: ");
  });
});
