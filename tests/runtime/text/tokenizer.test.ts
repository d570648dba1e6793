import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { Tokenizer } from "../../../runtime/text/tokenizer.ts";
import { trainBpe } from "../../../runtime/text/train-bpe.ts";
import { oddText, PATTERN, repetitiveText } from "./generators.ts";

const sentences =
  "The king's horses and the queen's men walked there, and they're walking still. We'll see 12 or 123 of them, " +
  "naïve as they are: 漢字 and 漢文, 😀 and 😁, abab abcabc aaaa bbaab.\n\n  An indented line.\n";
const tokenizer = trainBpe([sentences, sentences], 350);

function errorOf(f: () => unknown): ReflowError {
  try {
    f();
  } catch (error) {
    if (error instanceof ReflowError) return error;
    throw error;
  }
  throw new Error("there was no error");
}

/** The definition: while any pair can be merged, merge all occurrences of the pair with the lowest rank. */
function naiveEncode(text: string): number[] {
  const { vocab, merges } = tokenizer.toJSON().model;
  const ranks = new Map(merges.map((merge, rank) => [merge, rank]));
  const names = new Map(Object.entries(vocab).map(([name, id]) => [id, name]));
  return (text.match(PATTERN) ?? []).flatMap((word) => {
    let parts = [...new TextEncoder().encode(word)].map((byte) => {
      const id = Array.from({ length: 256 }, (_, id) => id).find(
        (id) => tokenizer.tokenBytes(id)[0] === byte,
      );
      return names.get(id!)!;
    });
    for (;;) {
      const found = parts.slice(1).map((right, i) => ranks.get(`${parts[i]} ${right}`) ?? Infinity);
      const best = Math.min(...found);
      if (best === Infinity) return parts.map((part) => vocab[part]);
      const [left, right] = merges[best].split(" ");
      const merged: string[] = [];
      for (let i = 0; i < parts.length; i++) {
        const match = parts[i] === left && parts[i + 1] === right;
        merged.push(match ? left + right : parts[i]);
        if (match) i++;
      }
      parts = merged;
    }
  });
}

describe("encode", () => {
  test("returns the ids of the definition", () => {
    fc.assert(
      fc.property(fc.oneof(repetitiveText, oddText, fc.constant(sentences)), (text) => {
        expect([...tokenizer.encode(text)]).toEqual(naiveEncode(text));
      }),
      { numRuns: 60 },
    );
  });

  test("decode inverts it for any well-formed text", () => {
    const texts = fc.oneof(oddText, fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" }));
    fc.assert(
      fc.property(texts, (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
      { numRuns: 1000 },
    );
  });

  test("preserves NUL, a byte order mark and the empty text", () => {
    for (const text of ["", "\0", "a\0\0b", "\ufeffBOM", "\ufeff"]) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
    expect(tokenizer.encode("")).toEqual(new Int32Array(0));
  });

  test("encodes a lone surrogate like U+FFFD", () => {
    const units = fc.array(fc.constantFrom("a", " ", "\ud83d", "\ude00", "1", "\ud800"), { maxLength: 20 });
    fc.assert(
      fc.property(units, (units) => {
        const text = units.join("");
        expect(tokenizer.encode(text)).toEqual(tokenizer.encode(text.toWellFormed()));
      }),
    );
    expect(tokenizer.decode(tokenizer.encode("a\ud800b"))).toBe("a\ufffdb");
  });

  test("reads <|endoftext|> as text, unless special tokens are allowed", () => {
    const { endOfText } = tokenizer;
    const text = "<|endoftext|>The king<|endoftext|><|endoftext|>";
    const plain = tokenizer.encode(text);
    expect(plain.includes(endOfText)).toBe(false);
    expect(tokenizer.decode(plain)).toBe(text);
    const special = tokenizer.encode(text, { allowSpecial: true });
    expect([...special]).toEqual([endOfText, ...tokenizer.encode("The king"), endOfText, endOfText]);
    expect(tokenizer.decode(special)).toBe(text);
  });

  test("returns the same ids after the word cache has been cleared", () => {
    const letters = (i: number) => i.toString(16).replace(/\d/g, (digit) => "ghijklmnop"[Number(digit)]);
    const words = Array.from({ length: 140_000 }, (_, i) => ` ${letters(i)}`).join("");
    const ids = tokenizer.encode(words);
    expect(tokenizer.decode(ids)).toBe(words);
    expect(tokenizer.encode(words)).toEqual(ids);
  });

  test("encodes 1 MB of one character or one word in nearly linear time", () => {
    let state = 1;
    const random = (n: number) => {
      state = (state * 48271) % 2147483647;
      return state % n;
    };
    const letters = Array.from({ length: 1_000_000 }, () => "abcdehnt"[random(8)]).join("");
    const time = (text: string) => {
      const start = performance.now();
      const ids = tokenizer.encode(text);
      const elapsed = performance.now() - start;
      expect(tokenizer.decode(ids) === text).toBe(true);
      return elapsed;
    };
    const ordinary = time(
      Array.from({ length: 200_000 }, (_, i) => letters.slice(5 * i, 5 * i + 4)).join(" "),
    );
    // Measured: 1 to 10 times as long. A quadratic step would make it thousands of times.
    for (const unit of ["a", " ", "\n", "1", "!", "'", "é", "漢", "😀", "ab"]) {
      const count = 1_000_000 / new TextEncoder().encode(unit).length;
      expect(time(unit.repeat(count))).toBeLessThan(60 * ordinary);
    }
    expect(time(letters)).toBeLessThan(60 * ordinary);
    expect(time(`${" ".repeat(1_000_000)}x`)).toBeLessThan(60 * ordinary);
  }, 60_000);
});

describe("decode", () => {
  const byte = (value: number) =>
    Array.from({ length: 256 }, (_, id) => id).find((id) => tokenizer.tokenBytes(id)[0] === value)!;

  test("replaces bytes that are not UTF-8 with U+FFFD, like TextDecoder", () => {
    expect(tokenizer.decode([byte(0xff), byte(0x41)])).toBe("\ufffdA");
    expect(tokenizer.decode([byte(0xf0), byte(0x9f), byte(0x98)])).toBe("\ufffd");
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
        const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
        expect(tokenizer.decode([...bytes].map(byte))).toBe(text);
      }),
    );
  });

  test.each([-1, 1.5, Number.NaN, tokenizer.vocabSize, 50257, 2 ** 31])("rejects id %p", (id) => {
    const uses = [
      () => tokenizer.decode([0, id]),
      () => tokenizer.tokenBytes(id),
      () => tokenizer.tokenText(id),
      () => tokenizer.decoder().push(id),
    ];
    for (const use of uses) {
      const error = errorOf(use);
      expect(error.code).toBe("data");
      expect(error.message).toContain(`token id ${id} `);
      expect(error.help).toContain(`0 to ${tokenizer.vocabSize - 1}`);
    }
  });
});

describe("decoder", () => {
  test("holds a character back until its last byte", () => {
    const bytesOnly = trainBpe([], 257);
    const stream = bytesOnly.decoder();
    const said = [...bytesOnly.encode("é😀!")].map((id) => stream.push(id));
    expect(said).toEqual(["", "é", "", "", "", "😀", "!"]);
    expect(stream.end()).toBe("");
  });

  test("returns U+FFFD for an incomplete character, and resets", () => {
    const bytesOnly = trainBpe([], 257);
    const [first, second] = bytesOnly.encode("😀");
    const stream = bytesOnly.decoder();
    expect([stream.push(first), stream.push(second), stream.end()]).toEqual(["", "", "\ufffd"]);
    expect(stream.push(bytesOnly.tokenId("a")!)).toBe("a");
  });

  test("returns the text of decode for any ids", () => {
    const id = fc.oneof(fc.nat({ max: tokenizer.vocabSize - 1 }), fc.integer({ min: 94, max: 187 }));
    fc.assert(
      fc.property(fc.array(id, { maxLength: 30 }), (ids) => {
        const stream = tokenizer.decoder();
        expect(ids.map((id) => stream.push(id)).join("") + stream.end()).toBe(tokenizer.decode(ids));
      }),
      { numRuns: 500 },
    );
  });
});

describe("single tokens", () => {
  test("by text", () => {
    const id = tokenizer.tokenId(" king")!;
    expect([...tokenizer.encode(" king")]).toEqual([id]);
    expect(tokenizer.tokenText(id)).toBe(" king");
    expect(new TextDecoder().decode(tokenizer.tokenBytes(id))).toBe(" king");
    expect(tokenizer.tokenId("<|endoftext|>")).toBe(tokenizer.endOfText);
    for (const text of ["", "an unknown text", "Ġking", "__proto__"])
      expect(tokenizer.tokenId(text)).toBeUndefined();
  });

  test("are returned as copies", () => {
    tokenizer.tokenBytes(0).fill(65);
    expect(tokenizer.tokenText(0)).toBe("!");
  });
});

describe("tokenizer.json", () => {
  const read = () => JSON.parse(JSON.stringify(tokenizer));

  test("can be written and read back", () => {
    const again = Tokenizer.fromJSON(read());
    expect(again.toJSON()).toEqual(tokenizer.toJSON());
    expect(again.encode(sentences)).toEqual(tokenizer.encode(sentences));
    expect(again.endOfText).toBe(349);
    expect(again.vocabSize).toBe(350);
  });

  test("has the fields that Hugging Face's tokenizers needs", () => {
    expect(read()).toMatchObject({
      version: "1.0",
      added_tokens: [{ id: 349, content: "<|endoftext|>", special: true }],
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
      decoder: { type: "ByteLevel" },
      model: { type: "BPE", vocab: { "!": 0, "<|endoftext|>": 349 } },
    });
  });

  test("may have merges as pairs, and only required fields", () => {
    const { added_tokens, decoder, model } = read();
    const again = Tokenizer.fromJSON({
      added_tokens,
      decoder,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
      post_processor: { type: "ByteLevel", trim_offsets: false },
      model: { vocab: model.vocab, merges: model.merges.map((merge: string) => merge.split(" ")) },
    });
    expect(again.toJSON()).toEqual(tokenizer.toJSON());
  });

  test("may have two merges for one token, and <|endoftext|> only among the added tokens", () => {
    const { model, ...rest } = trainBpe(["ab"], 258).toJSON();
    const { "<|endoftext|>": _, ...vocab } = model.vocab;
    const merges = ["a b", "b c", "ab c", "a bc"];
    const again = Tokenizer.fromJSON({
      ...rest,
      added_tokens: [{ id: 259, content: "<|endoftext|>" }],
      model: { vocab: { ...vocab, bc: 257, abc: 258 }, merges },
    });
    expect([...again.encode("abc")]).toEqual([258]);
    expect(again.endOfText).toBe(259);
  });

  /** A path, the value set there (undefined: removed), and the field that the error names if it is not that path. */
  const broken: [path: string, value: unknown, field?: string][] = [
    ["truncation", { max_length: 8 }],
    ["padding", { length: 8 }],
    ["normalizer", { type: "NFC" }],
    ["pre_tokenizer", null],
    ["pre_tokenizer.type", "Whitespace"],
    ["pre_tokenizer.add_prefix_space", true],
    ["pre_tokenizer.add_prefix_space", undefined],
    ["pre_tokenizer.use_regex", false],
    ["post_processor.type", "TemplateProcessing"],
    ["decoder", null],
    ["decoder.type", "WordPiece"],
    ["added_tokens", []],
    ["added_tokens.0.content", "<s>"],
    ["added_tokens.0.lstrip", true],
    ["added_tokens.0.id", "0"],
    ["added_tokens.0.id", 7, 'model.vocab["<|endoftext|>"]'],
    ["model", undefined],
    ["model.type", "Unigram"],
    ["model.dropout", 0.1],
    ["model.ignore_merges", true],
    ["model.continuing_subword_prefix", "##"],
    ["model.end_of_word_suffix", "</w>"],
    ["model.vocab", []],
    ["model.vocab", undefined],
    ["model.vocab.!", "0", 'model.vocab["!"]'],
    ["model.vocab.!", -1, 'model.vocab["!"]'],
    ["model.vocab.!", 0.5, 'model.vocab["!"]'],
    ["model.vocab.!", tokenizer.vocabSize, 'model.vocab["!"]'],
    ["model.vocab.!", 2, 'model.vocab["#"]'],
    ["model.vocab.a b", tokenizer.vocabSize, 'model.vocab["a b"]'],
    ["model.vocab.", tokenizer.vocabSize, 'model.vocab[""]'],
    ["model.merges", "a b"],
    ["model.merges.0", "ab", "model.merges[0]"],
    ["model.merges.1", "a b c", "model.merges[1]"],
    ["model.merges.1", 7, "model.merges[1]"],
    ["model.merges.1", [1, 2], "model.merges[1]"],
    ["model.merges.2", "! !", "model.merges[2]"],
    ["model.merges.3", tokenizer.toJSON().model.merges[0], "model.merges[3]"],
  ];

  test.each(broken)(
    "with %s = %j is rejected with an error that names the field",
    (path, value, field = path) => {
      const json = read();
      const keys = path.split(".");
      const last = keys.pop()!;
      let at = json;
      for (const key of keys) at = at[key] ??= {};
      if (value === undefined) delete at[last];
      else at[last] = value;
      const error = errorOf(() => Tokenizer.fromJSON(json, "a/tokenizer.json"));
      expect(error.code).toBe("format");
      expect(error.message).toStartWith(`a/tokenizer.json: ${field}: `);
      expect(error.help).toBeTruthy();
    },
  );

  test("rejects a file that is not an object", () => {
    for (const json of [null, undefined, "text", 7, [], {}]) {
      expect(errorOf(() => Tokenizer.fromJSON(json)).code).toBe("format");
    }
  });

  test("rejects a vocabulary without a token for each byte", () => {
    const json = read();
    json.model.vocab.ĠĠĠĠ = json.model.vocab.Ġ;
    delete json.model.vocab.Ġ;
    expect(errorOf(() => Tokenizer.fromJSON(json)).message).toContain("Ġ is missing");
  });

  test("keeps errors short if an invalid value is megabytes long", () => {
    const json = { ...read(), normalizer: "x".repeat(1_000_000) };
    expect(errorOf(() => Tokenizer.fromJSON(json)).message.length).toBeLessThan(200);
  });
});
