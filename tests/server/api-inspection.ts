/** Tests of inspection, tokens, patches, probes and error responses, which run against every server. */
import assert from "node:assert/strict";
import * as v from "valibot";
import { completion, modelCard, modelList } from "../../server/schemas/completions.ts";
import { activations, detokenized, explanation, tokenized } from "../../server/schemas/inspection.ts";
import { algebra, map, neighbours, signal, tokens } from "../../server/schemas/lexicon.ts";
import { blastRadius, deleted, namedPatch, patchList } from "../../server/schemas/patches.ts";
import { probeList, probeResult } from "../../server/schemas/probes.ts";
import { type ApiTests, near, prompt, push } from "./api.ts";

export const inspectionTests: ApiTests = {
  async "activations, by names and patterns, in JSON and MessagePack"(api) {
    const request = { input: prompt, names: ["blocks.*.hook_resid_post", "hook_signals"] };
    const { activations: found, tokens } = await api.ask(activations, "/v1/activations", request);
    const { data: models } = await api.ask(modelList, "/v1/models");
    const { n_layers, d_model, n_signals } = models[0].config as Record<string, number>;
    assert.equal(Object.keys(found).length, n_layers + 1);
    assert.deepEqual(found["blocks.0.hook_resid_post"].shape, [1, tokens.length, d_model]);
    assert.deepEqual(found.hook_signals.shape, [1, tokens.length, n_signals]);
    const packed = await api.post("/v1/activations", request, { accept: "application/msgpack" });
    const { data } = packed.body.activations.hook_signals;
    assert.ok(data instanceof Float32Array);
    assert.deepEqual(Array.from(data), found.hook_signals.data);
  },

  async "contributions sum to the logit, and signal values agree with the activations"(api) {
    const told = await api.ask(explanation, "/v1/explain", { input: prompt, target: " and", top: 3 });
    const all = [...told.signals.map(({ contribution }) => contribution), told.rest.contribution];
    near(
      all.reduce((sum, x) => sum + x, 0),
      told.sum,
    );
    near(told.sum, told.logit, 2e-2);
    const { activations: found, tokens } = await api.ask(activations, "/v1/activations", {
      input: prompt,
      names: "hook_signals",
    });
    const width = found.hook_signals.shape[2];
    const [{ signal: s, value }] = told.signals;
    near(found.hook_signals.data[(tokens.length - 1) * width + s], value);

    const place = { target: { signal: s }, hook: "hook_signals" };
    const changed = await api.ask(explanation, "/v1/explain", {
      input: prompt,
      target: " and",
      top: 100,
      interventions: [{ op: "set", ...place, value: value + 1 }],
    });
    const own = changed.signals.find(({ signal }) => signal === s)!;
    near(own.value, value + 1);
    const { name, contribution } = changed.writers.at(-1)!;
    assert.equal(name, "interventions");
    near(contribution, own.recipe);
  },

  async "tokens, signals, neighbours and arithmetic agree"(api) {
    const { tokens: found } = await api.ask(tokens, "/v1/tokens/%20of?k=3&top=100");
    const [token] = found;
    assert.equal(found.length, 1);
    assert.equal(token.text, " of");
    const same = await api.ask(tokens, `/v1/tokens/${token.id}?by=id&k=3&top=100`);
    assert.deepEqual(same.tokens, found);
    const { signal: s, weight } = token.recipe[0];
    const book = await api.ask(signal, `/v1/signals/${s}?k=100`);
    assert.ok(book.most[0].weight >= book.most[1].weight && book.least[0].weight <= book.least[1].weight);
    const own = [...book.most, ...book.least].find(({ id }) => id === token.id);
    if (own) near(own.weight, weight);
    const around = await api.ask(neighbours, "/v1/neighbours?token=%20of&k=3");
    assert.deepEqual(around.neighbours, token.neighbours);
    const sum = await api.ask(algebra, "/v1/algebra", { expression: "2 * of", k: 3 });
    assert.deepEqual(
      sum.nearest.map(({ id }) => id),
      around.neighbours.map(({ id }) => id),
    );
    const two = await api.ask(tokens, `/v1/tokens/${encodeURIComponent(" of and")}`);
    assert.deepEqual(
      two.tokens.map(({ text }) => text),
      [" of", " and"],
    );
    await api.ask(neighbours, "/v1/neighbours?token=%20of&k=3&space=embedding");
  },

  async "the map is centred, and explains at most all variance"(api) {
    const { points, shares } = await api.ask(map, "/v1/map?n=20");
    assert.ok(points.length > 3 && points.length <= 20);
    assert.ok(shares[0] >= shares[1] && shares[0] + shares[1] <= 1 + 1e-9);
    for (const axis of ["x", "y"] as const)
      near(
        points.reduce((sum, point) => sum + point[axis], 0),
        0,
      );
  },

  async "patches are saved, applied and deleted"(api) {
    const expression = "of += 3 * and";
    const made = await api.ask(namedPatch, "/v1/patches", { name: "suite.royal", patch: { expression } });
    try {
      const { data } = await api.ask(patchList, "/v1/patches");
      assert.ok(data.some(({ name }) => name === "suite.royal"));
      assert.deepEqual(await api.ask(namedPatch, "/v1/patches/suite.royal"), made);
      const { name, expression: said, ...patch } = made;
      assert.deepEqual([name, said], ["suite.royal", expression]);
      // A patch saved as edits has no expression.
      const edits = await api.ask(namedPatch, "/v1/patches", { name, patch });
      assert.deepEqual(edits, { name, ...patch });
      assert.deepEqual(await api.ask(namedPatch, "/v1/patches", { name, patch: expression }), made);
      const text = async (more: object) => {
        const request = { prompt, max_tokens: 4, seed: 4, logprobs: 1, ...more };
        return (await api.ask(completion, "/v1/completions", request)).choices[0].logprobs;
      };
      const patched = await text({ patch: "suite.royal" });
      assert.deepEqual(await text({ patch }), patched);
      assert.deepEqual(await text({ patch: { expression } }), patched);
      assert.notDeepEqual(await text({}), patched);
      // Tokens and signals of the patched model, with the patch given by name or as statements.
      const own = await api.ask(tokens, "/v1/tokens/%20of");
      const edited = await api.ask(tokens, "/v1/tokens/%20of?patch=suite.royal");
      assert.notDeepEqual(edited, own);
      assert.deepEqual(
        await api.ask(tokens, `/v1/tokens/%20of?patch=${encodeURIComponent(expression)}`),
        edited,
      );
      const [{ signal: most }] = edited.tokens[0].recipe;
      const book = await api.ask(signal, `/v1/signals/${most}?k=100&patch=suite.royal`);
      assert.notDeepEqual(book, await api.ask(signal, `/v1/signals/${most}?k=100`));
      const near = await api.ask(neighbours, "/v1/neighbours?token=%20of&patch=suite.royal");
      assert.deepEqual(near.neighbours, edited.tokens[0].neighbours);
      const sum = await api.ask(algebra, "/v1/algebra", { expression: "of", patch });
      assert.deepEqual(sum.nearest, near.neighbours);
      assert.notDeepEqual(await api.ask(map, "/v1/map?patch=suite.royal"), await api.ask(map, "/v1/map"));
      const kept = await api.ask(blastRadius, "/v1/patches/suite.royal/blast-radius", { text: prompt });
      assert.equal(kept.edited.most[0].text, " of");
      assert.ok(kept.divergence!.mean > 0);
      assert.deepEqual(await api.ask(blastRadius, "/v1/blast-radius", { patch, text: prompt }), kept);
    } finally {
      const gone = await api.get("/v1/patches/suite.royal", { method: "DELETE" });
      assert.deepEqual(v.parse(deleted, gone.body), { name: "suite.royal", deleted: true });
    }
    await api.refused(404, /there is no patch "suite.royal"/, "/v1/patches/suite.royal");
    await api.refused(404, /there is no patch/, "/v1/tokens/%20of?patch=suite.royal");
    await api.refused(404, /there is no patch/, "/v1/completions", { prompt, patch: "suite.royal" });
  },

  async "a probe streams its progress, then its result"(api) {
    const { data } = await api.ask(probeList, "/v1/probes");
    assert.ok(data.some(({ id }) => id === "geometry"));
    const text = `${prompt} people. `.repeat(300);
    const events = await api.events("/v1/probes/geometry", { text });
    assert.equal(events[0].type, "progress");
    const shares = events.filter(({ type }) => type === "progress").map(({ done }) => done);
    assert.deepEqual(
      shares,
      [...shares].sort((a, b) => a - b),
    );
    const { type, result } = events.at(-1);
    assert.equal(type, "result");
    const alone = await api.ask(probeResult, "/v1/probes/geometry", { text, stream: false });
    assert.deepEqual(alone, result);
    await api.refused(404, /no experiment "nonesuch"/, "/v1/probes/nonesuch", {});
    await api.refused(400, /the text has \d+ tokens/, "/v1/probes/geometry", { text: "too short" });
  },

  async "tokenize and detokenize round-trip"(api) {
    const content = "the king, ünïcödé 🦊";
    const { tokens } = await api.ask(tokenized, "/tokenize", { content });
    assert.deepEqual(await api.ask(detokenized, "/detokenize", { tokens }), { content });
    const pieces = await api.ask(tokenized, "/tokenize", { content, with_pieces: true });
    assert.deepEqual(
      pieces.tokens.map((token) => (typeof token === "object" ? token.id : token)),
      tokens,
    );
  },

  async "unsupported methods, and requests without a body"(api) {
    for (const [method, path, allow] of [
      ["GET", "/v1/completions", "POST"],
      ["PUT", "/v1/completions", "POST"],
      ["PATCH", "/v1/patches/a", "GET, DELETE"],
    ]) {
      const response = await api.request(path, { method });
      const { error } = (await response.json()) as { error: { code: string; help: string } };
      assert.deepEqual([response.status, error.code], [405, "method_not_supported"], path);
      assert.equal(response.headers.get("allow"), allow);
    }
    // A route without required fields accepts a request without a body.
    assert.equal((await api.request("/v1/patches/nobody/blast-radius", { method: "POST" })).status, 404);
  },

  async "models, by name"(api) {
    const { data } = await api.ask(modelList, "/v1/models");
    const [{ id }] = data;
    assert.deepEqual(await api.ask(modelCard, `/v1/models/${id}`), data[0]);
    await api.ask(completion, "/v1/completions", { model: id, prompt, max_tokens: 1 });
    const error = await api.refused(404, /there is no model "gpt-4"/, "/v1/models/gpt-4");
    assert.equal(error.code, "model_not_found");
    await api.refused(404, /no model/, "/v1/completions", { model: "../../etc/passwd", prompt });
  },

  async "invalid requests are refused, naming the field"(api) {
    const bad: [message: RegExp, path: string, body: unknown, param?: string][] = [
      [
        /max_tokens is 0: expected a whole number of at least 1/,
        "/v1/completions",
        { prompt, max_tokens: 0 },
        "max_tokens",
      ],
      [/n is 1000000: expected a whole number from 1 to 16/, "/v1/completions", { prompt, n: 1e6 }, "n"],
      [/logprobs is 21/, "/v1/completions", { prompt, logprobs: 21 }, "logprobs"],
      [/max_tokns is not a field/, "/v1/completions", { prompt, max_tokns: 1 }, "max_tokns"],
      [/temperature is "hot"/, "/v1/completions", { prompt, temperature: "hot" }, "temperature"],
      [
        /logit_bias is not supported; use an intervention at hook_logits/,
        "/v1/completions",
        { prompt, logit_bias: { 5: 3 } },
        "logit_bias",
      ],
      [/best_of \(3\) must equal n \(2\)/, "/v1/completions", { prompt, n: 2, best_of: 3 }, "best_of"],
      [
        /frequency_penalty is not supported \(only 0 is accepted\)/,
        "/v1/completions",
        { prompt, frequency_penalty: 1 },
        "frequency_penalty",
      ],
      [/stop/, "/v1/completions", { prompt, stop: [""] }],
      [/prompt is \{/, "/v1/completions", { prompt: {} }, "prompt"],
      [/token id 999999/, "/v1/completions", { prompt: [999999] }],
      [/the context/, "/v1/completions", { prompt: "a ".repeat(20_000) }],
      [/the context/, "/v1/completions", { prompt: Array(5000).fill(1) }, "prompt"],
      [/32 prompts with 16 choices/, "/v1/completions", { prompt: Array(32).fill(prompt), n: 16 }, "n"],
      [/strength is 1e\+38|strength is 1000000/, "/v1/completions", { prompt, interventions: push(1e38) }],
      [
        /hook is "hook_nowhere"/,
        "/v1/completions",
        { prompt, interventions: push(1, { hook: "hook_nowhere" }) },
      ],
      [/interventions\[0\]\.op is "ad"/, "/v1/steer", { prompt, interventions: [{ op: "ad" }] }],
      [/no interventions and no patch/, "/v1/steer", { prompt }],
      [/prompt is missing/, "/v1/steer", { interventions: push(1) }, "prompt"],
      [/prompt is empty/, "/v1/steer", { prompt: "", interventions: push(1) }],
      [/target/, "/v1/steer", { prompt, interventions: push(1), target: "of and", stream: true }],
      [/no interventions to compare/, "/v1/steer/band", { prompt, target: " of" }],
      [/no hook point "hook_nowhere"/, "/v1/activations", { input: prompt, names: "hook_nowhere" }],
      [/no hook point satisfies/, "/v1/activations", { input: prompt, names: `${"*".repeat(199)}!` }],
      [/at most 200 characters/, "/v1/activations", { input: prompt, names: "*".repeat(900_000) }, "names"],
      [/is not a single token/, "/v1/explain", { input: prompt, target: "of ".repeat(300_000) }],
      [/has 900000 characters/, "/v1/completions", { prompt, patch: { expression: "=".repeat(900_000) } }],
      [/interventions\[0\]\.op/, "/v1/steer", { prompt, interventions: Array(90_000).fill({ op: "x" }) }],
      [/patch is \{/, "/v1/completions", { prompt, patch: { model: "0", edits: Array(200_000).fill({}) } }],
      [/input is empty/, "/v1/lens", { input: "" }],
      [/positions\[0\] is 100/, "/v1/lens", { input: prompt, positions: [1000] }],
      [/position is 1000/, "/v1/explain", { input: prompt, position: 1000 }],
      [/expression/, "/v1/algebra", { expression: "of -" }],
      [/adds up to zero/, "/v1/algebra", { expression: "of - of" }],
      [/k is 101/, "/v1/algebra", { expression: "of", k: 101 }, "k"],
      [/not a valid patch name/, "/v1/patches", { name: "../x", patch: { expression: "of += and" } }],
      [/not a valid patch name/, "/v1/completions", { prompt, patch: "a/b" }],
      [/patch.model is/, "/v1/patches", { name: "x", patch: { model: "0".repeat(64), edits: [] } }],
      [/token id 999999/, "/detokenize", { tokens: [999999] }],
      [/the request is \[\]/, "/tokenize", []],
    ];
    for (const [message, path, body, param] of bad) {
      const error = await api.refused(400, message, path, body);
      if (param) assert.equal(error.param, param);
      // The error does not repeat a large input.
      assert.ok(JSON.stringify(error).length < 2000);
      assert.equal(error.type, "invalid_request_error");
    }
    await api.refused(400, /signal is 100000/, "/v1/signals/100000");
    await api.refused(400, /not a signal id/, "/v1/signals/x");
    await api.refused(400, /k is "0"|k is 0/, "/v1/neighbours?token=%20of&k=0");
    await api.refused(400, /space/, "/v1/neighbours?token=%20of&space=outer");
    await api.refused(400, /token is missing/, "/v1/neighbours");
    await api.refused(404, /there is no GET \/v2/, "/v2");
  },

  async "health checks, metrics, and the OpenAPI document with its page"(api) {
    assert.equal((await api.get("/livez")).status, 200);
    assert.equal((await api.get("/readyz")).status, 200);
    assert.match((await api.get("/metrics")).body, /^reflow_slots \d+$/m);
    const { body } = await api.get("/openapi.json");
    assert.equal(body.openapi, "3.1.0");
    const page = await api.get("/docs");
    assert.match(page.headers.get("content-type")!, /^text\/html/);
    for (const path of Object.keys(body.paths)) assert.ok(page.body.includes(path), path);
    assert.ok(!/<script|https?:/.test(page.body), "no script, no network");
  },
};
