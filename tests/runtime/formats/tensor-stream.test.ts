import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { HostArray } from "../../../runtime/backend/contract/backend.ts";
import { type TensorData, writeSafetensors } from "../../../runtime/formats/safetensors.ts";
import { openTensorStream } from "../../../runtime/formats/tensor-stream.ts";
import { expectError } from "../../support/expect-error.ts";
import { randomValues } from "./random-checkpoint.ts";

const values = randomValues(1000);
const bytes = writeSafetensors(
  new Map<string, TensorData>([
    ["odd", { dtype: "I8", shape: [3], data: Int8Array.of(-1, 0, 1) }],
    ["f32", { dtype: "F32", shape: [10, 100], data: values }],
    ["empty", { dtype: "F32", shape: [0, 4], data: new Float32Array(0) }],
    ["f16", { dtype: "F16", shape: [3], data: Uint16Array.of(0x3c00, 0xc000, 0x0001) }],
  ]),
  { k: "v" },
);

/** A stream of pieces that cycle through these sizes; `state` records whether it was cancelled. */
function streamOf(data: Uint8Array, sizes: readonly number[] = [data.length], state = { cancelled: false }) {
  let [at, i] = [0, 0];
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at === data.length) return controller.close();
      const end = Math.min(at + sizes[i++ % sizes.length], data.length);
      controller.enqueue(data.slice(at, end));
      at = end;
    },
    cancel() {
      state.cancelled = true;
    },
  });
}

test("tensors are read correctly for any sizes of arriving pieces and requested chunks", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 1100 }),
      async (sizes, chunkElements) => {
        const file = await openTensorStream(streamOf(bytes, sizes), "x");
        expect(file.metadata).toEqual({ k: "v" });
        const found: Record<string, number[]> = {};
        for (const name of file.tensors.keys()) {
          const all: number[] = [];
          const into = (chunk: HostArray, offset: number) => {
            expect(offset).toBe(all.length);
            all.push(...chunk);
          };
          if (name === "odd") await file.read(name, into, chunkElements);
          else await file.readF32(name, into, chunkElements);
          found[name] = all;
        }
        await file.close();
        expect(found).toEqual({ odd: [-1, 0, 1], f32: [...values], empty: [], f16: [1, -2, 2 ** -24] });
      },
    ),
    { numRuns: 50 },
  ));

test("tensors are read once, in order; errors name tensors that cannot be read", async () => {
  const state = { cancelled: false };
  const file = await openTensorStream(streamOf(bytes, [100], state), "x");
  await expect(file.readF32("f32", () => {})).rejects.toThrow('tensor "f32" is not the next one');
  await expectError(() => file.readF32("odd", () => {}), "format", /x: tensor "odd" has the dtype I8/);
  await expectError(() => file.read("nope", () => {}), "format", /x: tensor "nope" does not exist/);
  await file.read("odd", () => {});
  await expect(file.read("odd", () => {})).rejects.toThrow("is not the next one");
  await file.close();
  expect(state.cancelled).toBe(true);
});

describe("a stream that ends or fails early", () => {
  const readAll = async (stream: ReadableStream<Uint8Array>) => {
    const file = await openTensorStream(stream, "x");
    for (const name of file.tensors.keys()) await file.read(name, () => {});
  };

  test("reports after how many bytes", async () => {
    for (const size of [0, 5, 8, 20, 500, bytes.length - 1]) {
      const message = new RegExp(`^x broke off after ${size} bytes \\(the stream ended\\)`);
      await expectError(() => readAll(streamOf(bytes.slice(0, size), [64])), "network", message);
    }
    let pulls = 0;
    const failing = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (pulls++) controller.error(new Error("reset"));
        else controller.enqueue(bytes.slice(0, 700));
      },
    });
    await expectError(() => readAll(failing), "network", /^x broke off after 700 bytes \(reset\)/);
  });

  test("is cancelled if it is not a safetensors file", async () => {
    const state = { cancelled: false };
    const page = new TextEncoder().encode(`<!doctype html>${"x".repeat(1000)}`);
    await expectError(() => readAll(streamOf(page, [10], state)), "format", /^x: a header of \d+ bytes/);
    expect(state.cancelled).toBe(true);
  });
});
