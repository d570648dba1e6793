import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { HostArray } from "../../../runtime/backend/contract/backend.ts";
import { readSafetensors, type TensorData, writeSafetensors } from "../../../runtime/formats/safetensors.ts";
import { createTensorFile, openTensorFile } from "../../../runtime/formats/tensor-file.ts";
import { expectError } from "../../support/expect-error.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { randomValues } from "./random-checkpoint.ts";

const folder = temporaryFolder();
let files = 0;
const newPath = () => join(folder, `${files++}.safetensors`);

function fileWith(tensors: Record<string, TensorData>): string {
  const path = newPath();
  writeFileSync(path, writeSafetensors(new Map(Object.entries(tensors))));
  return path;
}

describe("reading", () => {
  const values = randomValues(1000);
  const path = fileWith({
    odd: { dtype: "I8", shape: [3], data: Int8Array.of(-1, 0, 1) },
    f32: { dtype: "F32", shape: [10, 100], data: values },
    f16: { dtype: "F16", shape: [3], data: Uint16Array.of(0x3c00, 0xc000, 0x0001) },
    bf16: { dtype: "BF16", shape: [2], data: Uint16Array.of(0x3f80, 0xc040) },
    i32: { dtype: "I32", shape: [2], data: Int32Array.of(-5, 2 ** 30) },
    i64: { dtype: "I64", shape: [1], data: BigInt64Array.of(1n) },
    empty: { dtype: "F32", shape: [0, 4], data: new Float32Array(0) },
  });

  test("chunks of any size add up to the tensor", () => {
    const file = openTensorFile(path);
    for (const chunkElements of [1, 7, 100, 999, 1000, 1001, undefined]) {
      const whole = new Float32Array(1000);
      const sizes: number[] = [];
      const into = (chunk: HostArray, offset: number) => {
        expect(chunk).toBeInstanceOf(Float32Array);
        whole.set(chunk as Float32Array, offset);
        sizes.push(chunk.length);
      };
      file.read("f32", into, chunkElements);
      expect(whole).toEqual(values);
      expect(Math.max(...sizes)).toBe(Math.min(1000, chunkElements ?? 1000));
    }
    file.close();
  });

  test("each dtype is read as stored; F16 and BF16 are widened on request", () => {
    const file = openTensorFile(path);
    const raw = (name: string) => {
      const chunks: HostArray[] = [];
      file.read(name, (chunk) => chunks.push(chunk.slice()));
      return chunks;
    };
    expect(raw("odd")).toEqual([Int8Array.of(-1, 0, 1)]);
    expect(raw("f16")).toEqual([Uint16Array.of(0x3c00, 0xc000, 0x0001)]);
    expect(raw("i32")).toEqual([Int32Array.of(-5, 2 ** 30)]);
    expect(raw("empty")).toEqual([]);
    const wide = (name: string, chunkElements?: number) => {
      const all: number[] = [];
      file.readF32(name, (chunk, offset) => all.splice(offset, 0, ...chunk), chunkElements);
      return all;
    };
    expect(wide("f16", 2)).toEqual([1, -2, 2 ** -24]);
    expect(wide("bf16")).toEqual([1, -3]);
    expect(wide("f32", 300)).toEqual([...values]);
    file.close();
  });

  test("errors name tensors that cannot be read", async () => {
    const file = openTensorFile(path);
    await expectError(() => file.read("i64", () => {}), "format", /tensor "i64" has the dtype I64/);
    await expectError(() => file.read("nope", () => {}), "format", /tensor "nope" does not exist/);
    await expectError(() => file.readF32("i32", () => {}), "format", /tensor "i32" has the dtype I32/);
    file.close();
  });

  test("missing, empty and truncated files, folders, and files truncated while open are rejected", async () => {
    await expectError(
      () => openTensorFile(join(folder, "nope")),
      "format",
      /nope could not be opened \(ENOENT\)/,
    );
    await expectError(() => openTensorFile(folder), "format", /is not a file/);
    const cut = newPath();
    const bytes = readFileSync(path);
    for (const size of [0, 5, 8, 20, 500, bytes.length - 1]) {
      writeFileSync(cut, bytes.subarray(0, size));
      const { message } = await expectError(() => openTensorFile(cut), "format", /too few|header of|ends at/);
      expect(message).toStartWith(cut);
    }
    writeFileSync(cut, bytes);
    const file = openTensorFile(cut);
    truncateSync(cut, 2000);
    await expectError(() => file.read("f32", () => {}), "format", /was truncated/);
    file.close();
  });
});

describe("writing", () => {
  test("writes the same bytes as writeSafetensors, and returns size and hash", () => {
    const x = randomValues(24);
    const path = newPath();
    const file = createTensorFile(
      path,
      [
        { name: "x", dtype: "F32", shape: [4, 6] },
        { name: "none", dtype: "F32", shape: [0] },
        { name: "y", dtype: "I8", shape: [3] },
      ],
      { k: "v" },
    );
    for (let at = 0; at < 24; at += 10) file.write("x", x.subarray(at, at + 10));
    file.write("none", new Float32Array(0));
    file.write("y", Int8Array.of(1, 2, 3));
    const record = file.close();
    const bytes = readFileSync(path);
    const expected = writeSafetensors(
      new Map<string, TensorData>([
        ["x", { dtype: "F32", shape: [4, 6], data: x }],
        ["none", { dtype: "F32", shape: [0], data: new Float32Array(0) }],
        ["y", { dtype: "I8", shape: [3], data: Int8Array.of(1, 2, 3) }],
      ]),
      { k: "v" },
    );
    expect(new Uint8Array(bytes)).toEqual(expected);
    expect(record).toEqual({ size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") });
    expect(readSafetensors(bytes).tensors.get("x")?.data).toEqual(x);
  });

  test("chunks out of order throw a RangeError", () => {
    const entries = [
      { name: "a", dtype: "F32", shape: [2] },
      { name: "b", dtype: "F16", shape: [1] },
    ] as const;
    const file = createTensorFile(newPath(), entries);
    expect(() => file.write("b", new Uint16Array(1))).toThrow('"b" is written where "a" comes next');
    expect(() => file.write("a", new Float32Array(3))).toThrow("Float32Array(3)");
    expect(() => file.write("a", new Int32Array(2))).toThrow("Int32Array(2)");
    file.write("a", new Float32Array(1));
    expect(() => file.close()).toThrow('"a" is not complete');
    file.write("a", new Float32Array(1));
    file.write("b", new Uint16Array(1));
    expect(() => file.write("b", new Uint16Array(1))).toThrow("the end comes next");
    file.close();
    file.abort();
  });

  test("a full disk and a missing folder are reported", async () => {
    const full = newPath();
    symlinkSync("/dev/full", full);
    const entries = [{ name: "x", dtype: "F32", shape: [4] }] as const;
    const error = await expectError(
      () => createTensorFile(full, entries),
      "checkpoint",
      /no space is left.*ENOSPC/,
    );
    expect(error.help).toMatch(/remove old checkpoints there/);
    const inFile = join(newPath(), "x");
    writeFileSync(join(inFile, ".."), "");
    await expectError(() => createTensorFile(inFile, entries), "checkpoint", /ENOTDIR/);
  });
});
