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

test("one line per step; an evaluation replaces an earlier one", () => {
  const metrics = new Metrics(run);
  metrics.truncateAfter(0);
  metrics.write({ step: 10, loss: 3 });
  metrics.write({ step: 10, valLoss: 4 });
  metrics.write({ step: 20, loss: 2 });
  metrics.write({ step: 10, valLoss: 5 });
  assert.equal(read(), '{"step":10,"loss":3}\n{"step":20,"loss":2}\n{"step":10,"valLoss":5}\n');
});

test("lines of steps to be repeated are removed, and so is a line cut short by a kill", () => {
  appendFileSync(join(run, "metrics.jsonl"), '{"step":11,"loss":1}\n{"step":1');
  new Metrics(run).truncateAfter(10);
  assert.equal(read(), '{"step":10,"loss":3}\n{"step":10,"valLoss":5}\n');
  assert.deepEqual(readdirSync(run), ["metrics.jsonl"]);
});

test("a write failure is a ReflowError", () => {
  const nowhere = new Metrics(join(run, "metrics.jsonl"));
  assert.throws(
    () => nowhere.write({ step: 1, loss: 1 }),
    (error) => error instanceof ReflowError && /metrics\.jsonl could not be written/.test(error.message),
  );
});
