/**
 * Compares six tiny models with the results of a float64 PyTorch implementation (tests/fixtures/README.md), on every
 * backend and every build of its kernels.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import type { Backend, HostArray } from "../../../runtime/backend/contract/backend.ts";
import { type ModelConfig, parseConfig } from "../../../runtime/config/config.ts";
import { readSafetensors } from "../../../runtime/formats/safetensors.ts";
import { AdamW, type StepOptions } from "../../../runtime/transformer/optimizer.ts";
import {
  allocateParameters,
  freeParameters,
  type Parameters,
} from "../../../runtime/transformer/parameters.ts";
import { TrainableModel } from "../../../runtime/transformer/trainable-model.ts";
import { assertClose } from "../../support/compare.ts";

export const ORACLE_CASES = [
  "reflow",
  "reflow-wide",
  "reflow-topk",
  "reflow-lite",
  "gpt2-new",
  "gpt2",
] as const;

export interface OracleCase {
  config: ModelConfig;
  optimizer: Omit<StepOptions, "step">;
  /** (B,T) of `ids` */
  batch: number;
  length: number;
  tensor(name: string): HostArray;
  /** The values of all tensors named `<prefix>.<parameter>`, by parameter. */
  parameters(prefix: "param" | "grad" | "stepped"): [name: string, values: Float32Array][];
}

export async function readOracle(name: string): Promise<OracleCase> {
  const file = new URL(`../../fixtures/oracle/${name}.safetensors`, import.meta.url);
  const { metadata, tensors } = readSafetensors(await readFile(file), name);
  const { weight_decay, grad_clip, ...adam } = JSON.parse(metadata.optimizer);
  const tensor = (key: string) => tensors.get(key)!.data as HostArray;
  const [batch, length] = tensors.get("ids")!.shape;
  return {
    config: parseConfig(JSON.parse(metadata.config), name),
    optimizer: { ...adam, weightDecay: weight_decay, clip: grad_clip },
    batch,
    length,
    tensor,
    parameters: (prefix) =>
      [...tensors.keys()]
        .filter((key) => key.startsWith(`${prefix}.`))
        .map((key) => [key.slice(prefix.length + 1), tensor(key) as Float32Array]),
  };
}

export interface OracleOptions {
  /** Relative tolerance of losses: 1e-5 on WASM, 1e-4 elsewhere. */
  lossTolerance: number;
}

/** A software GPU compiles about a hundred kernels, which takes seconds on a busy machine. */
const TIMEOUT = { timeout: 120_000 };

export function oracleSuite(
  name: string,
  makeBackend: () => Promise<Backend>,
  { lossTolerance }: OracleOptions,
): void {
  describe(`oracle on ${name}`, () => {
    let backend: Backend;
    before(async () => {
      backend = await makeBackend();
    });
    after(() => backend.dispose());

    for (const caseName of ORACLE_CASES) {
      test(`${caseName}: logits, hidden states, loss, gradients and one step`, TIMEOUT, async () => {
        const oracle = await readOracle(caseName);
        const { model, optimizer, parameters, dispose } = build(backend, oracle);
        const [loss] = oracle.tensor("loss");
        const evaluated = await model.evaluate(ids(oracle, "ids"), ids(oracle, "targets"));
        assertLoss(evaluated, loss, lossTolerance, "evaluate");
        model.forwardBackward(ids(oracle, "ids"), ids(oracle, "targets"));
        assertLoss(await model.loss(), loss, lossTolerance, "loss");
        for (let l = 0; l <= oracle.config.n_layers; l++) {
          const hidden = await backend.read(model.hidden(l));
          assertClose(hidden, oracle.tensor(`hidden.${l}`), { relative: 1e-4 }, `hidden.${l}`);
        }
        assertClose(await model.logits(), oracle.tensor("logits"), { relative: 1e-4 }, "logits");
        const [norm] = oracle.tensor("grad_norm");
        for (const [key, expected] of oracle.parameters("grad")) {
          const gradient = await backend.read(model.gradients[key]);
          assertClose(gradient, expected, { relative: 1e-4, absolute: 1e-6 * norm }, `grad.${key}`);
        }

        optimizer.step({ ...oracle.optimizer, step: 1 });
        assertClose([await optimizer.gradientNorm()], [norm], { relative: 1e-4 }, "grad_norm");
        for (const [key, expected] of oracle.parameters("stepped")) {
          // The exact gradient is zero, because softmax is invariant to shifts, so that Adam amplifies rounding noise.
          if (caseName === "gpt2" && key.endsWith("attn.k.bias")) continue;
          assertClose(await backend.read(parameters[key]), expected, { relative: 1e-3 }, `stepped.${key}`);
        }
        for (const [key, gradient] of Object.entries(model.gradients)) {
          assert.ok(
            (await backend.read(gradient)).every((x) => x === 0),
            `${key}: not zeroed after the step`,
          );
        }
        dispose();
      });

      test(`${caseName}: losses over ten steps`, TIMEOUT, async () => {
        const oracle = await readOracle(caseName);
        const { model, optimizer, dispose } = build(backend, oracle);
        const M = oracle.batch * oracle.length;
        for (const [s, expected] of oracle.tensor("trajectory.losses").entries()) {
          const batch = (key: string) => ids(oracle, `trajectory.${key}`).subarray(s * M, (s + 1) * M);
          assertLoss(
            await model.evaluate(batch("ids"), batch("targets")),
            expected,
            lossTolerance,
            `step ${s}`,
          );
          model.forwardBackward(batch("ids"), batch("targets"));
          assertLoss(await model.loss(), expected, lossTolerance, `step ${s}`);
          optimizer.step({ ...oracle.optimizer, step: s + 1 });
        }
        dispose();
      });
    }

    test("two micro-batches of one sequence equal one batch of two", TIMEOUT, async () => {
      for (const caseName of ["reflow-topk", "gpt2"]) {
        const oracle = await readOracle(caseName);
        const { length } = oracle;
        const { model, dispose } = build(backend, { ...oracle, batch: 1 });
        for (let b = 0; b < oracle.batch; b++) {
          const sequence = (key: string) => ids(oracle, key).subarray(b * length, (b + 1) * length);
          model.forwardBackward(sequence("ids"), sequence("targets"), { scale: 1 / oracle.batch });
        }
        const [norm] = oracle.tensor("grad_norm");
        for (const [key, expected] of oracle.parameters("grad")) {
          const gradient = await backend.read(model.gradients[key]);
          assertClose(
            gradient,
            expected,
            { relative: 1e-4, absolute: 1e-6 * norm },
            `${caseName} grad.${key}`,
          );
        }
        dispose();
      }
    });
  });
}

const ids = (oracle: OracleCase, key: string): Int32Array => oracle.tensor(key) as Int32Array;

/** A model with the oracle's initial weights. */
function build(backend: Backend, oracle: OracleCase) {
  const { config, batch, length } = oracle;
  const parameters: Parameters = allocateParameters(backend, config);
  for (const [name, values] of oracle.parameters("param")) backend.write(parameters[name], values);
  const model = new TrainableModel(backend, config, parameters, { batch, length });
  const optimizer = new AdamW(backend, config, parameters, model.gradients);
  const dispose = () => {
    model.dispose();
    optimizer.dispose();
    freeParameters(backend, parameters);
  };
  return { model, optimizer, parameters, dispose };
}

function assertLoss(actual: number, expected: number, tolerance: number, what: string): void {
  assertClose([actual], [expected], { relative: tolerance }, `${what}: loss ${actual}, expected ${expected}`);
}
