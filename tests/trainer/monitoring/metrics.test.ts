import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { Metrics } from "../../../trainer/monitoring/metrics.ts";

const run = mkdtempSync(join(tmpdir(), "reflow-metrics-"));
after(() => rmSync(run, { recursive: true, force: true }));

const read = () => readFileSync(join(run, "metrics.jsonl"), "utf8");

test("a line a step; an evaluation takes the place of an earlier one", () => {
  const metrics = new Metrics(run);
  metrics.cut(0);
  metrics.write({ step: 10, loss: 3 });
  metrics.write({ step: 10, valLoss: 4 });
  metrics.write({ step: 20, loss: 2 });
  metrics.write({ step: 10, valLoss: 5 });
  assert.equal(read(), '{"step":10,"loss":3}\n{"step":20,"loss":2}\n{"step":10,"valLoss":5}\n');
});

test("what is done again is cut, and so is a line that a kill left unfinished", () => {
  appendFileSync(join(run, "metrics.jsonl"), '{"step":11,"loss":1}\n{"step":1');
  new Metrics(run).cut(10);
  assert.equal(read(), '{"step":10,"loss":3}\n{"step":10,"valLoss":5}\n');
  assert.deepEqual(readdirSync(run), ["metrics.jsonl"]);
});

test("what the disk has against it is an error for people", () => {
  const nowhere = new Metrics(join(run, "metrics.jsonl"));
  assert.throws(
    () => nowhere.write({ step: 1, loss: 1 }),
    (error) => error instanceof ReflowError && /metrics\.jsonl could not be written/.test(error.message),
  );
});
