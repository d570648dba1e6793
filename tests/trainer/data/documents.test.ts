import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { trainBpe } from "../../../runtime/text/train-bpe.ts";
import { cutBefore, documentFiles, readDocuments } from "../../../trainer/data/documents.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { refusal } from "./expect-error.ts";

/** The documents of files with these contents, parts put together. */
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
  test("documents stand between separators on lines of their own", () => {
    expect(documents({ "a.txt": `One\n\ntwo.${SEPARATOR}Three.\n` })).toEqual(["One\n\ntwo.", "Three."]);
    expect(documents({ "a.txt": "One.\n<|endoftext|>\nTwo." })).toEqual(["One.", "Two."]);
    expect(documents({ "a.txt": "One.\r\n\r\n<|endoftext|>\r\n\r\nTwo.\r\n" })).toEqual(["One.", "Two."]);
    expect(documents({ "a.txt": `<|endoftext|>\n\nOne.${SEPARATOR}${SEPARATOR}` })).toEqual(["One."]);
    expect(documents({ "a.txt": "One.\n<|endoftext|>" })).toEqual(["One."]);
  });

  test("within a line, a separator is text", () => {
    const text = "Say <|endoftext|>\n<|endoftext|>!\nx<|endoftext|>";
    expect(documents({ "a.txt": text })).toEqual([text]);
  });

  test("a file's end is a document's", () => {
    expect(documents({ "a.txt": "One", "b.txt": "", "c.txt": "Two" })).toEqual(["One", "Two"]);
  });

  test("a byte order mark is no text", () => {
    expect(documents({ "a.txt": "\u{feff}One" })).toEqual(["One"]);
  });

  test("any documents come back", () => {
    const document = fc.string({ unit: fc.constantFrom("a", "é", "😀", " ", "\n", "<", "|", ".") });
    const trimmed = fc.array(document.map((text) => text.trim()).filter(Boolean), { minLength: 1 });
    fc.assert(
      fc.property(trimmed, (texts) => {
        expect(documents({ "a.txt": texts.join(SEPARATOR) })).toEqual(texts);
      }),
      { numRuns: 50 },
    );
  });

  test("wherever the file is cut while it is read", () => {
    // A separator and a character of four bytes across the first MiB's end.
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

test("a line that only begins like a separator, cut where it does", () => {
  const text = `${"word ".repeat(MIB).slice(0, MIB - 14)}\n<|endoftext|>!\nThe end.`;
  expect(documents({ "a.txt": text })).toEqual([text]);
});

describe("long documents", () => {
  const words = Array.from({ length: 700_000 }, (_, i) => (i % 17 ? `w${i % 101}` : "and,\n\n so  on"));
  const text = words.join(" ");

  test("come in parts, whose tokens are the document's", () => {
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

  test("megabytes without a space, or of nothing else between two words", () => {
    for (const text of ["x".repeat(3 * MIB), "😀".repeat(MIB), `a${" ".repeat(3 * MIB)}b`]) {
      expect(documents({ "a.txt": text }).map((found) => found === text)).toEqual([true]);
    }
  });

  test("white space at the end of a long document ends it", () => {
    const found = documents({ "a.txt": `x${" ".repeat(3 * MIB)}${SEPARATOR}Two.` });
    expect(found.map((document) => document.trim())).toEqual(["x", "Two."]);
  });

  test("a cut is before white space and after a character that is none", () => {
    expect(cutBefore("one two three", 9)).toBe(7);
    expect(cutBefore("one two three", 7)).toBe(7);
    expect(cutBefore("one\ntwo", 6)).toBe(3);
    // U+0085 is white space for the tokenizer, though not for JavaScript's \s.
    expect(cutBefore("one\u0085 two", 8)).toBe(8);
    // The next part would begin with what looks like a separator.
    expect(cutBefore("one two <|endoftext|>", 10)).toBe(3);
    expect(cutBefore("xx😀xx", 3)).toBe(4);
  });
});

describe("JSONL", () => {
  test("a document is a line's text, as it is", () => {
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
      "no object": '"text"',
      nothing: "null",
    };
    for (const wrong of Object.values(cases)) {
      const jsonl = `{"text":"fine"}\n\n${wrong}\n`;
      expect(await refusal("data", () => documents({ "a.jsonl": jsonl }))).toContain("a.jsonl:3: ");
    }
  });
});

describe("what is no text is refused", () => {
  const cases: Record<string, [Record<string, string | Uint8Array>, string]> = {
    "an empty file": [{ "a.txt": "" }, "there is no text in"],
    "white space": [{ "a.txt": " \n\n" }, "there is no text in"],
    "separators only": [{ "a.txt": SEPARATOR, "b.txt": "" }, "there is no text in"],
    "JSONL without text": [{ "a.jsonl": '{"text":""}\n' }, "there is no text in"],
    "a zero byte": [{ "a.txt": "text\0text" }, "a zero byte"],
    "invalid UTF-8": [{ "a.txt": Uint8Array.of(0x61, 0xff, 0x62) }, "invalid UTF-8 between bytes 0 and 3"],
    "half a character": [{ "a.txt": Uint8Array.of(0x61, 0xe2, 0x82) }, "half a character"],
    "UTF-16": [{ "a.txt": Buffer.from("\u{feff}text", "utf16le") }, "a zero byte"],
  };
  for (const [name, [files, said]] of Object.entries(cases)) {
    test(name, async () => {
      const text = await refusal("data", () => documents(files));
      expect(text).toContain(said);
      expect(text).toContain("a.");
    });
  }
});

describe("paths", () => {
  test("a file, or a folder's .txt files by name", () => {
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

  test("errors name them", async () => {
    const folder = temporaryFolder({ "c.md": "", "d/e": "" });
    expect(await refusal("data", () => documentFiles(folder))).toContain("no .txt files; it has c.md, d");
    const missing = join(folder, "missing.txt");
    expect(await refusal("data", () => documentFiles(missing))).toContain(
      `${missing}: there is no such file`,
    );
    expect(await refusal("data", () => [...readDocuments([join(folder, "d")])])).toContain("d: ");
  });
});
