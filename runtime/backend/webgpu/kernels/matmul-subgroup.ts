import { times } from "../device/kernel.ts";
import type { Tier } from "../device/tier.ts";
import { type Product, type Tile, type TiledKernel, tiledKernel } from "./matmul-tile.ts";

/** Uses 16 KiB of workgroup memory, for f16 factors and for sums before they are stored. */
export const MATRIX: Tile = { rows: 128, columns: 128, step: 16, invocations: 256, groupsToFillGpu: 256 };

/** Part of the tile whose sums a subgroup keeps in registers. There are eight subgroups of 32 invocations. */
const [ROWS, COLUMNS] = [64, 32];
const DOWN = MATRIX.rows / ROWS;
const ACROSS = MATRIX.columns / COLUMNS;

/** Padding in elements between lines in workgroup memory: lines that are read together begin on different banks. */
const PAD = 8;

/**
 * Products on matrix units, which multiply M × K by K × N values of f16 at a time and sum in f32. Factors are rounded when
 * they are copied to workgroup memory, and keep the layout of their tensors: the units support both layouts.
 */
export const matrixTiled = (product: Product, matrix: NonNullable<Tier["matrix"]>): TiledKernel =>
  tiledKernel("matmul-matrix", MATRIX, product, () => source(product, matrix));

function source(product: Product, { M, N, K }: NonNullable<Tier["matrix"]>): string {
  const { rows, columns, step, invocations } = MATRIX;
  const a = side("a", "row", rows, !product.transA);
  const b = side("b", "column", columns, product.transB);
  const sums = (code: (r: number, c: number) => string) =>
    times(ROWS / M, (r) => times(COLUMNS / N, (c) => code(r, c)));
  const left = (r: number, k: number) =>
    a.load(`subgroup_matrix_left<f16, ${K}, ${M}>`, `rows_of(subgroup) + ${r * M}u`, k, "row", "col");
  const right = (c: number, k: number) =>
    b.load(`subgroup_matrix_right<f16, ${N}, ${K}>`, `columns_of(subgroup) + ${c * N}u`, k, "col", "row");

  return /* wgsl */ `
var<workgroup> tile_a: array<f16, ${a.size}>;
var<workgroup> tile_b: array<f16, ${b.size}>;
// One matrix of sums for half of the subgroups: the halves are stored one after the other.
const HALF = ${(DOWN * ACROSS) / 2}u;
var<workgroup> sums: array<f32, HALF * ${M * N}u>;

// The modulo makes the bounds visible to the compiler.
fn rows_of(subgroup: u32) -> u32 { return subgroup % ${DOWN}u * ${ROWS}u; }
fn columns_of(subgroup: u32) -> u32 { return subgroup / ${DOWN}u % ${ACROSS}u * ${COLUMNS}u; }

// Offsets are uniform within a subgroup, which the uniformity analysis, of whole workgroups, cannot detect.
@diagnostic(off, chromium.subgroup_matrix_uniformity)
@compute @workgroup_size(${invocations})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  let scale = scales(lane);
  let row = group.y * ${rows}u;
  let column = group.x * ${columns}u;
  let first = group.z * p.slice;
  let end = min(first + p.slice, p.inner);
${a.place}
${b.place}
${sums((r, c) => `  var sum_${r}_${c} = subgroup_matrix_result<f32, ${N}, ${M}>();`)}

${a.fetch("first", "var ", " * scale.x")}
${b.fetch("first", "var ", "")}
  for (var k = first; k < end; k += ${step}u) {
    workgroupBarrier(); // the previous step has been read
${a.store}
${b.store}
    workgroupBarrier();
    // Loads have a long latency: those of the next step start before this step is multiplied.
    if (k + ${step}u < end) {
${a.fetch(`k + ${step}u`, "", " * scale.x")}
${b.fetch(`k + ${step}u`, "", "")}
    }
${times(
  step / K,
  (i) => `    {
${times(ROWS / M, (r) => `      let left_${r} = ${left(r, i * K)};`)}
${times(COLUMNS / N, (c) => `      let right_${c} = ${right(c, i * K)};`)}
${sums((r, c) => `      sum_${r}_${c} = subgroupMatrixMultiplyAccumulate(left_${r}, right_${c}, sum_${r}_${c});`)}
    }`,
)}
  }

  for (var half = 0u; half < 2u; half++) {
${sums(
  (r, c) => `    workgroupBarrier();
    if (subgroup / HALF == half) {
      subgroupMatrixStore<row_major>(&sums, subgroup % HALF * ${M * N}u, sum_${r}_${c}, ${N}u);
    }
    workgroupBarrier();
    for (var i = lane * 4u; i < HALF * ${M * N}u; i += ${invocations * 4}u) {
      let owner = half * HALF + i / ${M * N}u;
      let below = rows_of(owner) + ${r * M}u + i % ${M * N}u / ${N}u;
      let right = columns_of(owner) + ${c * N}u + i % ${N}u;
      put(group.z, row + below, column + right, vec4<f32>(sums[i], sums[i + 1u], sums[i + 2u], sums[i + 3u]) * scale.y);
    }`,
)}
  }
}`;
}

/** Copies one factor to workgroup memory, and loads it from there to the matrix units. */
function side(name: "a" | "b", start: string, lines: number, alongInner: boolean) {
  const { step, invocations } = MATRIX;
  // Dimensions in memory: `minor` elements are contiguous.
  const [major, minor] = alongInner ? [lines, step] : [step, lines];
  const stride = minor + PAD;
  const quads = (major * minor) / 4 / invocations;
  const apart = major / quads;
  const position = (k: string, i: number) =>
    alongInner
      ? `${start} + ${name}_major + ${i * apart}u, ${k} + ${name}_minor`
      : `${start} + ${name}_minor, ${k} + ${name}_major + ${i * apart}u`;
  return {
    size: major * stride,
    place: `  let ${name}_minor = lane % ${minor / 4}u * 4u;
  let ${name}_major = lane / ${minor / 4}u;
  let ${name}_place = ${name}_major * ${stride}u + ${name}_minor;`,
    fetch: (k: string, declare: "var " | "", scaled: string) =>
      times(quads, (i) => `  ${declare}${name}_${i} = vec4<f16>(${name}_quad(${position(k, i)})${scaled});`),
    store: times(quads, (i) =>
      times(4, (c) => `    tile_${name}[${name}_place + ${i * apart * stride + c}u] = ${name}_${i}[${c}];`),
    ),
    load: (type: string, line: string, k: number, along: string, across: string) => {
      const offset = alongInner ? `(${line}) * ${stride}u + ${k}u` : `${k * stride}u + ${line}`;
      const layout = `${alongInner ? along : across}_major`;
      return `subgroupMatrixLoad<${type}, ${layout}>(&tile_${name}, ${offset}, ${stride}u)`;
    },
  };
}
