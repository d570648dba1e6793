/** Tests of completions and steering, which run against every server. */
import assert from "node:assert/strict";
import { completion } from "../../server/schemas/completions.ts";
import { lens, tokenized } from "../../server/schemas/inspection.ts";
import { band, steered } from "../../server/schemas/steer.ts";
import { type ApiTests, near, prompt, push } from "./api.ts";

export const generationTests: ApiTests = {
  async "a completion is determined by its seed"(api) {
    const ask = (more: object) => api.ask(completion, "/v1/completions", { prompt, max_tokens: 8, ...more });
    const first = await ask({ seed: 7 });
    const again = await ask({ seed: 7 });
    const { completion_tokens, prompt_tokens, total_tokens } = first.usage!;
    assert.deepEqual(again.choices, first.choices);
    assert.equal(completion_tokens, 8);
    assert.equal(total_tokens, prompt_tokens + 8);
    assert.equal(first.choices[0].finish_reason, "length");
    const several = await ask({ seed: 7, n: 3 });
    assert.equal(several.choices[0].text, first.choices[0].text);
    assert.equal(several.choices[2].text, (await ask({ seed: 9 })).choices[0].text);
    assert.deepEqual(
      several.choices.map(({ index }) => index),
      [0, 1, 2],
    );
  },

  async "max_tokens defaults to 16, and null means absent"(api) {
    const nothing = { prompt, seed: 1, temperature: null, stop: null, logprobs: null, user: "me" };
    const { usage } = await api.ask(completion, "/v1/completions", nothing);
    assert.equal(usage!.completion_tokens, 16);
  },

  async "a stream gives the same completion as a single response"(api) {
    const request = { prompt, max_tokens: 10, seed: 3, n: 2, logprobs: 1, echo: true };
    const complete = await api.ask(completion, "/v1/completions", request);
    const events = await api.events("/v1/completions", {
      ...request,
      stream: true,
      stream_options: { include_usage: true },
    });
    const last = events.pop();
    assert.deepEqual(last.choices, []);
    assert.deepEqual(last.usage, complete.usage);
    for (const { usage } of events) assert.equal(usage, null);
    assert.equal(new Set(events.map(({ id }) => id)).size, 1);
    for (const { index, text, logprobs } of complete.choices) {
      const own = events.flatMap(({ choices }) => choices).filter((choice) => choice.index === index);
      assert.equal(own.map((choice) => choice.text).join(""), text);
      const streamed = own.flatMap((choice) => choice.logprobs?.token_logprobs ?? []);
      assert.equal(streamed.length, logprobs!.tokens.length);
      for (const [i, logprob] of logprobs!.token_logprobs.entries()) {
        if (logprob === null) assert.equal(streamed[i], null);
        else near(streamed[i], logprob);
      }
      assert.deepEqual(
        own.flatMap((choice) => choice.logprobs?.text_offset ?? []),
        logprobs!.text_offset,
      );
      assert.equal(own.at(-1).finish_reason, "length");
    }
  },

  async "a prompt is a text, a list of token ids, or several of them"(api) {
    const { tokens } = await api.ask(tokenized, "/tokenize", { content: prompt });
    const ask = async (prompt: unknown) =>
      (await api.ask(completion, "/v1/completions", { prompt, max_tokens: 4, seed: 1 })).choices.map(
        ({ text }) => text,
      );
    const [text] = await ask(prompt);
    assert.deepEqual(await ask(tokens), [text]);
    assert.deepEqual(await ask([prompt, prompt]), [text, text]);
    assert.deepEqual(await ask([tokens, tokens]), [text, text]);
    assert.equal((await ask("")).length, 1);
  },

  async "log-probabilities agree with the logit lens"(api) {
    const { choices } = await api.ask(completion, "/v1/completions", {
      prompt,
      max_tokens: 1,
      temperature: 0,
      logprobs: 3,
      echo: true,
    });
    const { text, logprobs } = choices[0];
    const { tokens: names, token_logprobs, top_logprobs, text_offset } = logprobs!;
    assert.equal(names.join(""), text);
    assert.deepEqual(
      names.map((name, i) => text.slice(text_offset[i], text_offset[i] + name.length)),
      names,
    );
    assert.equal(token_logprobs[0], null);
    assert.equal(top_logprobs![0], null);
    const seen = await api.ask(lens, "/v1/lens", { input: prompt, top: 3 });
    assert.equal(seen.cells.length, seen.hooks.length);
    const last = seen.cells.at(-1)!;
    for (const [t, cell] of last.entries()) {
      if (cell.next !== undefined) near(Math.exp(token_logprobs[t + 1]!), cell.next);
      // Object keys that are digits come first, so the values are sorted.
      const top = Object.values(top_logprobs![t + 1]!)
        .map(Math.exp)
        .sort((a, b) => b - a);
      // The token itself is always included.
      assert.ok(top.length === 3 || top.length === 4);
      assert.equal(top_logprobs![t + 1]![names[t + 1]], token_logprobs[t + 1]);
      for (const [i, { probability }] of cell.top.entries()) near(top[i], probability);
    }
    assert.equal(names.at(-1), last.at(-1)!.top[0].text);
    const some = await api.ask(lens, "/v1/lens", { input: prompt, top: 3, positions: [2] });
    const [cell] = some.cells.at(-1)!;
    near(cell.next!, last[2].next!);
    assert.equal(cell.top[0].id, last[2].top[0].id);
  },

  async "offsets count code points, which may span several tokens"(api) {
    const request = { prompt: "a 😀 b", echo: true, logprobs: 0, max_tokens: 1, seed: 1 };
    const { choices } = await api.ask(completion, "/v1/completions", request);
    const { tokens, text_offset } = choices[0].logprobs!;
    const characters = [...choices[0].text];
    assert.ok(tokens.some((name) => name.startsWith("bytes:")));
    for (const [i, name] of tokens.entries()) {
      if (name.startsWith("bytes:")) continue;
      const [from, length] = [text_offset[i], [...name].length];
      assert.equal(characters.slice(from, from + length).join(""), name);
    }
    assert.equal(text_offset.at(-1), 5);
  },

  async "a stop string ends a completion and is not part of it"(api) {
    const all = await api.ask(completion, "/v1/completions", { prompt, max_tokens: 12, seed: 2 });
    const { text } = all.choices[0];
    const stop = [...text].slice(3, 6).join("");
    const { choices } = await api.ask(completion, "/v1/completions", {
      prompt,
      max_tokens: 12,
      seed: 2,
      stop: ["\0never\0", stop],
    });
    assert.equal(choices[0].finish_reason, "stop");
    assert.equal(choices[0].text, text.slice(0, text.indexOf(stop)));
  },

  async "interventions change a completion, except at strength 0"(api) {
    const text = async (more: object) => {
      const request = { prompt, max_tokens: 6, seed: 4, ...more };
      return (await api.ask(completion, "/v1/completions", request)).choices[0].text;
    };
    const plain = await text({});
    assert.equal(await text({ interventions: push(0) }), plain);
    assert.notEqual(await text({ interventions: push(50) }), plain);
  },

  async "steer gives both runs and the band, as a single response and as a stream"(api) {
    const request = {
      prompt,
      max_tokens: 5,
      seed: 4,
      logprobs: 2,
      interventions: push(0.5),
      target: " and",
    };
    const complete = await api.ask(steered, "/v1/steer", request);
    const plain = await api.ask(completion, "/v1/completions", { prompt, max_tokens: 5, seed: 4 });
    assert.equal(complete.default.text, plain.choices[0].text);
    assert.equal(complete.steered.tokens.length, 5);
    assert.equal(complete.steered.tokens[0].top_logprobs.length, 2);
    assert.ok(complete.band!.low <= complete.band!.high);
    assert.equal(complete.band!.draws.length, 16);
    near(complete.band!.change, complete.band!.steered - complete.band!.default);
    const alone = await api.ask(band, "/v1/steer/band", {
      prompt,
      interventions: push(0.5),
      target: " and",
    });
    assert.deepEqual(alone, complete.band);

    const events = await api.events("/v1/steer", { ...request, stream: true });
    const { type: _, ...streamed } = events.find(({ type }) => type === "band");
    assert.deepEqual(streamed, complete.band);
    for (const run of ["default", "steered"] as const) {
      const own = events.filter((event) => event.run === run);
      assert.equal(own.map(({ text }) => text).join(""), complete[run].text);
      assert.deepEqual(
        own.filter(({ type }) => type === "token").map(({ id }) => id),
        complete[run].tokens.map(({ id }) => id),
      );
      assert.equal(own.at(-1).finish_reason, complete[run].finish_reason);
    }
  },

  async "at strength 0, neither steering nor random directions change anything"(api) {
    const request = { prompt, max_tokens: 5, seed: 4, interventions: push(0), target: " and" };
    const { default: plain, steered: same, band } = await api.ask(steered, "/v1/steer", request);
    assert.equal(same.text, plain.text);
    // Rounding differs between a single sequence and a batch.
    for (const [i, { logprob }] of same.tokens.entries()) near(logprob, plain.tokens[i].logprob);
    assert.equal(band!.change, 0);
    assert.deepEqual([band!.low, band!.high], [0, 0]);
  },
};
