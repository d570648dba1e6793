/** Common parts of the kernels that multiply tile by tile: reading the factors and storing the product. */
import { type Access, type Kernel, kernel } from "../device/kernel.ts";
import type { Tier } from "../device/tier.ts";

/** The properties of a product that a kernel is compiled for; sizes are parameters. */
export interface Product {
  readonly transA: boolean;
  readonly transB: boolean;
  /** b is int8, with scales. */
  readonly int8: boolean;
  readonly factors: Tier["matmul"];
}

/** A workgroup's part of the product. It processes `step` elements of the inner dimension at a time. */
export interface Tile {
  readonly rows: number;
  readonly columns: number;
  readonly step: number;
  readonly invocations: number;
  /** Number of workgroups that fill a large GPU. */
  readonly groupsToFillGpu: number;
}

/** Number of partial maxima of |a| that are passed to a product of f16 factors. */
export const PEAK_COUNT = 256;

export type TiledKernel = Kernel<string, "rows" | "columns" | "inner" | "slice" | "accumulate">;

/**
 * A kernel with one workgroup for each (tile of columns, tile of rows, slice of the inner dimension). `code`, which is
 * called only when the kernel is compiled, can use:
 *
 * - `a_quad(outer, inner)`, `b_quad(outer, inner)`: four elements, contiguous in memory. They are zeros past the end of the
 *   inner dimension, and arbitrary past the end of rows or columns, where results are discarded.
 * - `scales(lane)`: the factor for a when it is rounded to f16, and the factor for the product.
 * - `put(slice, row, column, values)`: stores four elements of a row of the product, those that exist.
 *
 * If all rows begin at multiples of four elements, `W` is 4; otherwise single elements are read and written.
 */
export function tiledKernel(name: string, tile: Tile, product: Product, code: () => string): TiledKernel {
  const { transA, transB, int8, factors } = product;
  return kernel(
    `${name} ${tile.rows}x${tile.columns} ${factors} ${transA} ${transB}`,
    {
      out: "writeW",
      a: "readW",
      b: "readW",
      ...(int8 && { b_scale: "read" }),
      ...(factors !== "f32" && { peaks: "read" }),
    } as Record<string, Access>,
    { rows: "u32", columns: "u32", inner: "u32", slice: "u32", accumulate: "u32" },
    (_, { W }) =>
      [
        quads("a", "rows", !transA, W),
        quads("b", "columns", transB, W, int8),
        factors === "f32" ? "" : scales(factors === "f16" ? byMemory(tile) : BY_SUBGROUP),
        put(W),
        code(),
      ].join("\n"),
  );
}

// Without branches, so that loads do not wait for each other: indices past the end are clamped.
function quads(name: string, outer: string, alongInner: boolean, W: number, int8 = false): string {
  const line = `min(outer, p.${outer} - ${alongInner ? 1 : W}u)`;
  const depth = `min(inner, p.inner - ${alongInner ? W : 1}u)`;
  const at = alongInner ? `${line} * p.inner + ${depth}` : `${depth} * p.${outer} + ${line}`;
  // Each group of 32 int8 values has a scale; four contiguous values are in the same group.
  const scale = int8 ? ` * b_scale(${line} * ((p.inner + 31u) / 32u) + ${depth} / 32u)` : "";
  const next = alongInner ? "outer, inner + i" : "outer + i, inner";
  const elements = /* wgsl */ `
fn ${name}_elements(outer: u32, inner: u32) -> vecW {
  return select(vecW(), ${name}((${at}) / ${W}u)${scale}, inner < p.inner);
}`;
  if (W === 4) {
    return /* wgsl */ `${elements}
fn ${name}_quad(outer: u32, inner: u32) -> vec4<f32> { return ${name}_elements(outer, inner); }`;
  }
  return /* wgsl */ `${elements}
fn ${name}_quad(outer: u32, inner: u32) -> vec4<f32> {
  var quad: vec4<f32>;
  for (var i = 0u; i < 4u; i++) { quad[i] = ${name}_elements(${next}); }
  return quad;
}`;
}

/**
 * The largest f16 is 65504, and below 6e-5 it loses precision: gradients would vanish. a is therefore multiplied by the
 * power of two that brings its largest magnitude between 2^14 and 2^15, where values a billion times smaller still have
 * full precision, and the product by the inverse. Both are exact. b holds weights or activations and is not scaled: values
 * too large for f16 become infinite, which is detected.
 */
function scales(largest: string): string {
  return /* wgsl */ `
${largest}
fn scales(lane: u32) -> vec2<f32> {
  let exponent = clamp(largest_peak(lane) >> 23u, 15u, 254u);
  return bitcast<vec2<f32>>(vec2<u32>(268u - exponent, exponent - 14u) << vec2<u32>(23u));
}`;
}

// Non-negative floats sort as their bits do.
const byMemory = ({ invocations }: Tile) => /* wgsl */ `
var<workgroup> peak: atomic<u32>;
fn largest_peak(lane: u32) -> u32 {
  if (lane == 0u) { atomicStore(&peak, 0u); }
  workgroupBarrier();
  for (var i = lane; i < ${PEAK_COUNT}u; i += ${invocations}u) { atomicMax(&peak, bitcast<u32>(peaks(i))); }
  workgroupBarrier();
  return atomicLoad(&peak);
}`;

// Products on matrix units use all workgroup memory, so this goes through subgroups, which have 32 invocations there.
const BY_SUBGROUP = /* wgsl */ `
fn largest_peak(lane: u32) -> u32 {
  var most = 0.0;
  for (var i = lane % 32u; i < ${PEAK_COUNT}u; i += 32u) { most = max(most, peaks(i)); }
  return bitcast<u32>(subgroupMax(most));
}`;

function put(W: number): string {
  return /* wgsl */ `
fn put(slice: u32, row: u32, column: u32, quad: vec4<f32>) {
  if (row >= p.rows) { return; }
  let first = (slice * p.rows + row) * p.columns + column;
  for (var c = 0u; c < 4u; c += ${W}u) {
    if (column + c >= p.columns) { return; }
    let i = (first + c) / ${W}u;
    var value = quad${W === 4 ? "" : "[c]"};
    if (p.accumulate != 0u) { value += out(i); }
    set_out(i, value);
  }
}`;
}
