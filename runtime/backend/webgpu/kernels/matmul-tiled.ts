import { times } from "../device/kernel.ts";
import { type Product, type Tile, type TiledKernel, tiledKernel } from "./matmul-tile.ts";

/**
 * A tile in registers: each invocation has 8 rows, in two groups of four that are half a tile apart, and one or two such
 * groups of columns. A step of 16 is in workgroup memory, which takes 16 KiB for the larger tile.
 *
 * There are sixteen invocations across, and one for each line of both factors: each copies one block of 4 × 4 to workgroup
 * memory.
 */
export const LARGE: Tile = { rows: 128, columns: 128, step: 16, invocations: 256, groupsToFillGpu: 256 };
/** For products in which the large tile would leave most of a GPU idle. */
export const SMALL: Tile = { rows: 64, columns: 64, step: 16, invocations: 128, groupsToFillGpu: 1024 };

/** Products in f32, or of factors rounded to f16. */
export function tiled(tile: Tile, product: Product): TiledKernel {
  const { rows, columns, step, invocations } = tile;
  const fours = columns / 64;
  const half = product.factors === "f16";
  return tiledKernel(
    "matmul",
    tile,
    product,
    () => /* wgsl */ `
alias Four = vec4<${half ? "f16" : "f32"}>;
// Indexed by the inner dimension, then by the other dimension in groups of four.
var<workgroup> tile_a: array<Four, ${(step * rows) / 4}>;
var<workgroup> tile_b: array<Four, ${(step * columns) / 4}>;
${block("a", !product.transA)}
${block("b", product.transB)}

@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  ${half ? "let scale = scales(lane);" : ""}
  let row = group.y * ${rows}u;
  let column = group.x * ${columns}u;
  let first = group.z * p.slice;
  let end = min(first + p.slice, p.inner);

  // This invocation's block of a step. Eight neighbours store 128 contiguous bytes, and 32 neighbours load whole sectors
  // from both layouts.
  let of_a = lane < ${rows}u;
  let block = select(lane - ${rows}u, lane, of_a);
  let line = block % 8u + block / 32u * 8u;
  let depth = block / 8u % 4u * 4u;

  // This invocation's part of the tile: 32 neighbours read 4 vectors of a and 8 of b, without bank conflicts.
  let x = lane % 8u + lane / 32u % 2u * 8u;
  let y = lane / 8u % 4u + lane / 64u * 4u;
${times(8, (r) => `  ${times(fours, (c) => `var sum_${r}_${c} = vec4<f32>();`, " ")}`)}

  var held = block_of(of_a, row, column, line, first + depth);
  for (var k = first; k < end; k += ${step}u) {
    workgroupBarrier(); // the previous step has been read
    if (of_a) {
${times(4, (i) => `      tile_a[(depth + ${i}u) * ${rows / 4}u + line] = Four(held[${i}]${half ? " * scale.x" : ""});`)}
    } else {
${times(4, (i) => `      tile_b[(depth + ${i}u) * ${columns / 4}u + line] = Four(held[${i}]);`)}
    }
    workgroupBarrier();
    // Loads have a long latency: those of the next step start before this step is multiplied.
    if (k + ${step}u < end) { held = block_of(of_a, row, column, line, k + ${step}u + depth); }
    for (var i = 0u; i < ${step}u; i++) {
${times(2, (r) => `      let a_${r} = vec4<f32>(tile_a[i * ${rows / 4}u + y + ${(r * rows) / 8}u]);`)}
${times(fours, (c) => `      let b_${c} = vec4<f32>(tile_b[i * ${columns / 4}u + x + ${16 * c}u]);`)}
${times(8, (r) => `      ${times(fours, (c) => `sum_${r}_${c} += a_${r >> 2}[${r & 3}] * b_${c};`, " ")}`)}
    }
  }
${times(8, (r) => {
  const at = `row + ${(r >> 2) * (rows / 2) + (r & 3)}u + y * 4u`;
  return times(
    fours,
    (c) => `  put(group.z, ${at}, column + ${64 * c}u + x * 4u, sum_${r}_${c}${half ? " * scale.y" : ""});`,
  );
})}
}

/** A block of four elements of the inner dimension by four of the other. */
fn block_of(of_a: bool, row: u32, column: u32, line: u32, inner: u32) -> mat4x4<f32> {
  if (of_a) { return a_block(row + line * 4u, inner); }
  return b_block(column + line * 4u, inner);
}`,
  );
}

function block(name: string, alongInner: boolean): string {
  const quad = (i: number) => `${name}_quad(outer${alongInner ? ` + ${i}u, inner` : `, inner + ${i}u`})`;
  const quads = `mat4x4<f32>(${times(4, quad, ", ")})`;
  return /* wgsl */ `
fn ${name}_block(outer: u32, inner: u32) -> mat4x4<f32> {
  return ${alongInner ? `transpose(${quads})` : quads};
}`;
}
