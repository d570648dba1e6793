import { times } from "../device/kernel.ts";
import type { Tier } from "../device/tier.ts";
import { type Product, type Tile, type TiledKernel, tiledKernel } from "./matmul-tile.ts";

/** 16 KiB of workgroup memory, f16 factors and the sums on their way out. */
export const MATRIX: Tile = { rows: 128, columns: 128, step: 16, invocations: 256, enough: 256 };

/** Eight subgroups of 32, each with 64 rows and 32 columns of the tile, whose sums it keeps in registers. */
const [ROWS, COLUMNS] = [64, 32];
const DOWN = MATRIX.rows / ROWS;
const ACROSS = MATRIX.columns / COLUMNS;

/** Elements between lines in workgroup memory: those that are read together begin on different banks. */
const PAD = 8;

/**
 * Products on matrix units, which multiply M × K by K × N values of f16 at a time and sum in f32. Factors are rounded on
 * their way to workgroup memory, where they lie as they do in their tensor: the units take either layout.
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
// A matrix of sums for every second subgroup.
const TURN = ${(DOWN * ACROSS) / 2}u;
var<workgroup> sums: array<f32, TURN * ${M * N}u>;

// With bounds that the compiler sees too.
fn rows_of(subgroup: u32) -> u32 { return subgroup % ${DOWN}u * ${ROWS}u; }
fn columns_of(subgroup: u32) -> u32 { return subgroup / ${DOWN}u % ${ACROSS}u * ${COLUMNS}u; }

// A subgroup's offsets are the same in all of it, which the analysis, of whole workgroups, can't see.
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
    workgroupBarrier(); // the step before has been read
${a.store}
${b.store}
    workgroupBarrier();
    // Loads take long: those of the next step begin before this one is multiplied.
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

  for (var turn = 0u; turn < 2u; turn++) {
${sums(
  (r, c) => `    workgroupBarrier();
    if (subgroup / TURN == turn) {
      subgroupMatrixStore<row_major>(&sums, subgroup % TURN * ${M * N}u, sum_${r}_${c}, ${N}u);
    }
    workgroupBarrier();
    for (var i = lane * 4u; i < TURN * ${M * N}u; i += ${invocations * 4}u) {
      let owner = turn * TURN + i / ${M * N}u;
      let below = rows_of(owner) + ${r * M}u + i % ${M * N}u / ${N}u;
      let right = columns_of(owner) + ${c * N}u + i % ${N}u;
      put(group.z, row + below, column + right, vec4<f32>(sums[i], sums[i + 1u], sums[i + 2u], sums[i + 3u]) * scale.y);
    }`,
)}
  }
}`;
}

/** How one factor gets to workgroup memory and from there to the matrix units. */
function side(name: "a" | "b", start: string, lines: number, alongInner: boolean) {
  const { step, invocations } = MATRIX;
  // In memory, where `minor` elements lie together.
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
