import { describe, expect, test } from "bun:test";
import { VARIANTS, type Variant } from "../../../runtime/config/config.ts";
import type {
  FinishEvent,
  GenerateEvent,
  GenerateOptions,
  Prompt,
} from "../../../runtime/generation/options.ts";
import { Model } from "../../../runtime/model/model.ts";
import { trainBpe } from "../../../runtime/text/train-bpe.ts";
import type { Activation, Hook } from "../../../runtime/transformer/hooks.ts";
import { expectError } from "../../support/expect-error.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { makeModel, onBackends, randomIds, tinyConfig } from "../transformer/inference-support.ts";

/** 256 bytes, "ab", and <|endoftext|>; the models' vocabulary is padded to 263. */
const tokenizer = trainBpe(["ab ab ab"], 258);
const padded = { vocab_size: 263 };
const END = tokenizer.endOfText;

interface Sequence {
  ids: number[];
  text: string;
  reason?: FinishEvent["reason"];
}

/** Collects the events of each sequence. */
async function collect(events: AsyncIterable<GenerateEvent>): Promise<Sequence[]> {
  const sequences: Sequence[] = [];
  for await (const event of events) {
    sequences[event.index] ??= { ids: [], text: "" };
    const s = sequences[event.index];
    expect(s.reason).toBeUndefined();
    s.text += event.text;
    if (event.type === "token") s.ids.push(event.id);
    else s.reason = event.reason;
  }
  return sequences;
}

const single = async (model: Model, prompt: Prompt, options: GenerateOptions) =>
  (await collect(model.generate(prompt, options)))[0];

/** A hook that forces the generated ids: `script[p]` follows position p. */
const forceTokens = (...script: (number | undefined)[]): Hook => [
  "hook_logits",
  ({ data, shape, positions }) => {
    const V = shape[2];
    for (const [row, position] of positions.entries()) {
      const id = script[position];
      if (id !== undefined) data.fill(0, row * V, (row + 1) * V)[row * V + id] = 100;
    }
    return data;
  },
];
/** As {@link forceTokens}, for text that follows a prompt of one token. */
const forceText = (text: string, end = END): Hook => forceTokens(...tokenizer.encode(text), end);

onBackends((backend) => {
  const make = async (variant: Variant = "reflow") =>
    new Model(await makeModel(backend(), tinyConfig(variant, { ...padded, context: 16 })), tokenizer);

  for (const variant of VARIANTS) {
    test(`${variant}: the tokens are the same with and without a cache, in a batch and alone`, async () => {
      const model = await make(variant);
      const prompts = [7, 1, 12].map((length, i) => randomIds(model.config, length, i));
      for (const options of [
        { temperature: 0 },
        { temperature: 0.8, topK: 20, topP: 0.9, seed: 5, repetitionPenalty: 1.1 },
      ]) {
        const batch = await collect(model.generate(prompts, options));
        const uncached = await collect(model.generate(prompts, { ...options, cached: false }));
        expect(uncached).toEqual(batch);
        for (const [i, prompt] of prompts.entries()) {
          expect(await single(model, prompt, options)).toEqual(batch[i]);
          const { ids, reason } = batch[i];
          expect(ids.every((id) => id < tokenizer.vocabSize)).toBe(true);
          if (reason === "length") expect(ids.length).toBe(model.config.context - prompt.length);
        }
      }
    });
  }

  test("sequences that end early free their slots for others", async () => {
    const model = await make();
    // Each generates its own number of tokens; they end in the order 2, 0, 3, 1.
    const lengths = [3, 9, 1, 4];
    const hook: Hook = [
      "hook_logits",
      ({ data, shape, positions, sequences }: Activation) => {
        for (const [row, position] of positions.entries()) {
          const sequence = sequences[row];
          data.fill(0, row * shape[2], (row + 1) * shape[2]);
          data[row * shape[2] + (position < lengths[sequence] ? 10 * sequence + position : END)] = 1;
        }
        return data;
      },
    ];
    const options = { temperature: 0, hooks: [hook] };
    const prompts = lengths.map((_, i) => [i + 50]);
    const batch = await collect(model.generate(prompts, options));
    for (const [i, length] of lengths.entries()) {
      expect(batch[i].ids).toEqual(Array.from({ length }, (_, position) => 10 * i + position));
      expect(batch[i].reason).toBe("endOfText");
    }
  });

  test("a sequence that moves to another slot keeps its own cache", async () => {
    const model = await make();
    const prompts = [3, 8, 5].map((length, i) => randomIds(model.config, length, i));
    // The first sequence ends at its second token; the others continue.
    const end: Hook = [
      "hook_logits",
      ({ data, shape, positions, sequences, length }) => {
        for (const [row, position] of positions.entries()) {
          if (sequences[Math.floor(row / length)] === 0 && position === 3) data[row * shape[2] + END] = 1e6;
        }
        return data;
      },
    ];
    const batch = await collect(model.generate(prompts, { temperature: 0, hooks: [end] }));
    expect(batch[0].ids.length).toBe(1);
    for (const i of [1, 2]) expect(await single(model, prompts[i], { temperature: 0 })).toEqual(batch[i]);
  });

  test("concurrent generations of one model do not affect each other", async () => {
    const model = await make();
    const prompts = [5, 2, 7].map((length, i) => randomIds(model.config, length, i));
    const alone = await Promise.all(prompts.map((prompt) => single(model, prompt, { temperature: 0 })));
    const iterators = prompts.map((prompt) => model.generate(prompt, { temperature: 0 }));
    const ids: number[][] = prompts.map(() => []);
    for (let ended = 0; ended < 3; ) {
      ended = 0;
      for (const [i, iterator] of iterators.entries()) {
        const { value, done } = await iterator.next();
        if (done) ended++;
        else if (value.type === "token") ids[i].push(value.id);
      }
    }
    expect(ids).toEqual(alone.map((sequence) => sequence.ids));
  });

  test("hooks see prompt and generated tokens at their positions", async () => {
    const model = await make();
    const rows: number[][] = [];
    const look: Hook = ["blocks.0.hook_resid_post", ({ positions }) => void rows.push([...positions])];
    const hooks = [look, forceTokens(undefined, undefined, undefined, 65, 66, 67)];
    const { ids } = await single(model, [1, 2, 3, 4], { temperature: 0, maxTokens: 3, hooks });
    expect(ids).toEqual([65, 66, 67]);
    expect(rows).toEqual([[0, 1, 2, 3], [4], [5]]);
  });

  test("hooks receive the index of each row's prompt", async () => {
    const model = await make();
    const seen: number[][] = [];
    const look: Hook = ["hook_embed", ({ sequences }) => void seen.push([...sequences])];
    const full = randomIds(model.config, 16);
    await collect(
      model.generate([full, [1], [2]], { temperature: 0, maxTokens: 2, hooks: [look, forceTokens(5, 6)] }),
    );
    expect(seen).toEqual([[1], [2], [1, 2]]);
  });

  test("a hook that changes the residual stream of the prompt changes the continuation", async () => {
    const model = await make();
    const plain = await single(model, [1, 2, 3, 4], { temperature: 0 });
    const steer: Hook = ["blocks.0.hook_resid_post", ({ data }) => data.map((x, i) => x + (i % 3) * 5)];
    const steered = await single(model, [1, 2, 3, 4], { temperature: 0, hooks: [steer] });
    const uncached = await single(model, [1, 2, 3, 4], { temperature: 0, hooks: [steer], cached: false });
    expect(steered.ids).not.toEqual(plain.ids);
    expect(uncached).toEqual(steered);
  });
});

async function reference(overrides = {}): Promise<Model> {
  return new Model(
    await makeModel(new ReferenceBackend(), tinyConfig("reflow", { ...padded, n_layers: 1, ...overrides })),
    tokenizer,
  );
}

describe("a sequence ends", () => {
  test("with reason length at the end of the context or at maxTokens", async () => {
    const model = await reference();
    const noEnd: Hook = [
      "hook_logits",
      ({ data, shape }) => data.map((x, i) => (i % shape[2] === END ? -1e9 : x)),
    ];
    const hooks = [noEnd];
    for (const length of [1, 20, 23, 24]) {
      const prompt = randomIds(model.config, length);
      const { ids, reason } = await single(model, prompt, { maxTokens: 1000, hooks });
      expect([ids.length, reason]).toEqual([24 - length, "length"]);
      expect((await single(model, prompt, { maxTokens: 2, hooks })).ids.length).toBe(
        Math.min(2, 24 - length),
      );
    }
    expect(await single(model, [1], { maxTokens: 0 })).toEqual({ ids: [], text: "", reason: "length" });
  });

  test("at <|endoftext|>, which is not part of the output", async () => {
    const model = await reference();
    const result = await single(model, [1], { hooks: [forceText("Hi")] });
    expect(result).toEqual({ ids: [...tokenizer.encode("Hi")], text: "Hi", reason: "endOfText" });
  });

  test("at a stop string that spans tokens and is excluded from the text", async () => {
    const model = await reference();
    const events: GenerateEvent[] = [];
    const options = { stop: ["xyz", "bye"], hooks: [forceText("one xy two xyz three")] };
    for await (const event of model.generate([1], options)) events.push(event);
    const texts = events.map(({ text }) => text);
    expect(texts.join("")).toBe("one xy two ");
    expect(events.at(-1)).toEqual({ type: "finish", index: 0, reason: "stop", text: "" });
    // Text is held back while it may be the start of a stop string, and released once it cannot be.
    expect(texts.slice(4, 7)).toEqual(["", "", "xy "]);
  });

  test("text that is held back is released at the end", async () => {
    const model = await reference();
    expect((await single(model, [1], { stop: "xyz", hooks: [forceText("a xy")] })).text).toBe("a xy");
    // The first byte of é.
    const half = tokenizer.encode("é")[0];
    const result = await single(model, [1], { hooks: [forceTokens(half, END)] });
    expect(result).toEqual({ ids: [half], text: "\u{fffd}", reason: "endOfText" });
  });

  test("characters of several tokens are released whole", async () => {
    const model = await reference();
    const texts: string[] = [];
    for await (const { text } of model.generate([1], { hooks: [forceText("né 😀!")] })) texts.push(text);
    expect(texts).toEqual(["n", "", "é", " ", "", "", "", "😀", "!", ""]);
  });
});

describe("prompts", () => {
  test("an empty prompt starts from <|endoftext|>, alone and in a batch", async () => {
    const model = await reference();
    const expected = await single(model, [END], { temperature: 0 });
    expect(await single(model, "", { temperature: 0 })).toEqual(expected);
    expect(await single(model, [], { temperature: 0 })).toEqual(expected);
    expect((await collect(model.generate(["x", ""], { temperature: 0 })))[1]).toEqual(expected);
  });

  test("text is tokenised, and <|endoftext|> in it is plain text", async () => {
    const model = await reference({ context: 40 });
    const ids = model.tokenize("ab<|endoftext|>");
    expect(ids).not.toContain(END);
    expect(await single(model, "ab<|endoftext|>", { temperature: 0 })).toEqual(
      await single(model, ids, { temperature: 0 }),
    );
  });

  test("prompts that are too long or contain invalid ids are rejected", async () => {
    const model = await reference();
    await expectError(
      () => single(model, new Int32Array(25), {}),
      "data",
      /prompt 0 has 25 tokens, the context 24/,
    );
    await expectError(() => collect(model.generate([[1], [263]])), "data", /token id 263, at position 0/);
    await expectError(() => single(model, [1.5], {}), "data", /token id 1.5/);
  });

  test("a model without a tokenizer accepts only ids", async () => {
    const bare = new Model(await makeModel(new ReferenceBackend(), tinyConfig("reflow")));
    expect((await single(bare, [1, 2], { maxTokens: 3 })).ids.length).toBe(3);
    await expectError(() => bare.tokenize("a"), "checkpoint", /no tokenizer.json/);
    await expectError(() => single(bare, "a", {}), "usage", /no tokenizer/);
    await expectError(() => single(bare, "", {}), "usage", /no tokenizer/);
    await expectError(() => single(bare, [1], { stop: "a" }), "usage", /no tokenizer/);
  });
});

describe("options", () => {
  test("a seed reproduces the output, and equal prompts of a batch use different random streams", async () => {
    const model = await reference();
    const run = (seed?: number) => collect(model.generate([[1], [1], [2]], { seed, temperature: 2 }));
    const first = await run(7);
    expect(await run(7)).toEqual(first);
    expect(await run(8)).not.toEqual(first);
    expect(first[0].ids).not.toEqual(first[1].ids);
    expect(await single(model, [2], { seed: 7, temperature: 2 })).toEqual(first[2]);
    expect(await run()).not.toEqual(await run());
  });

  test("logprobs are computed from the raw logits, and only if requested", async () => {
    const model = await reference();
    const events: GenerateEvent[] = [];
    const options = { logprobs: 3, maxTokens: 2, temperature: 0.5, repetitionPenalty: 1.5, seed: 1 };
    for await (const event of model.generate([1, 2], options)) events.push(event);
    const [first] = events;
    if (first.type !== "token") throw new Error("the first event is not a token");
    const { data } = await model.forward([1, 2]);
    const logits = [...data.subarray(-263)];
    const lse = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
    expect(first.logprob).toBeCloseTo(logits[first.id] - lse, 5);
    const likeliest = [...logits.keys()].slice(0, tokenizer.vocabSize).sort((a, b) => logits[b] - logits[a]);
    expect(first.topLogprobs!.map(({ id }) => id)).toEqual(likeliest.slice(0, 3));
    for (const { id, text, logprob } of first.topLogprobs!) {
      expect(text).toBe(tokenizer.tokenText(id));
      expect(logprob).toBeCloseTo(logits[id] - lse, 5);
    }
    for await (const event of model.generate([1, 2], { maxTokens: 1 }))
      expect(event).not.toHaveProperty("logprob");
  });

  test("out of range are rejected", async () => {
    const model = await reference();
    const wrong: [GenerateOptions, RegExp][] = [
      [{ maxTokens: -1 }, /maxTokens is -1/],
      [{ maxTokens: 1.5 }, /maxTokens is 1.5/],
      [{ logprobs: -1 }, /logprobs is -1/],
      [{ seed: 0.5 }, /seed is 0.5/],
      [{ stop: ["a", ""] }, /a stop string is empty/],
      [{ topP: 2 }, /topP is 2/],
    ];
    for (const [options, message] of wrong)
      await expectError(() => single(model, [1], options), "usage", message);
    const hooks: Hook[] = [["hook_nowhere", () => {}]];
    await expectError(() => collect(model.generate([1], { hooks })), "usage", /"hook_nowhere"/);
  });
});

describe("cancellation", () => {
  const expectMemoryFreed = async (run: (model: Model) => Promise<unknown>) => {
    const backend = new ReferenceBackend();
    const model = new Model(await makeModel(backend, tinyConfig("reflow", padded)), tokenizer);
    const before = backend.memory().allocated;
    await run(model);
    expect(backend.memory().allocated).toBe(before);
  };

  test("an aborted signal rejects with its reason, before and between tokens", async () => {
    await expectMemoryFreed(async (model) => {
      const reason = new Error("enough");
      await expect(single(model, [1], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      const controller = new AbortController();
      const events: GenerateEvent[] = [];
      const run = async () => {
        for await (const event of model.generate([1], {
          signal: controller.signal,
          hooks: [forceTokens(1, 2, 3, 4, 5)],
        })) {
          if (events.push(event) === 3) controller.abort(reason);
        }
      };
      await expect(run()).rejects.toBe(reason);
      expect(events.length).toBe(3);
    });
  });

  test("a timeout signal is noticed while the model runs", async () => {
    await expectMemoryFreed(async (model) => {
      const signal = AbortSignal.timeout(30);
      const run = async () => {
        for (let i = 0; i < 2000; i++) for await (const _ of model.generate([1], { signal }));
      };
      await expect(run()).rejects.toThrow(/timed out/);
    });
  });

  test("leaving the loop and an error in a hook free the memory", async () => {
    await expectMemoryFreed(async (model) => {
      for await (const _ of model.generate([[1], [2]])) break;
      const hooks: Hook[] = [["hook_embed", () => Promise.reject(new Error("mine"))]];
      await expect(single(model, [1], { hooks })).rejects.toThrow("mine");
    });
  });
});
