import { type Product, type Tile, type TiledKernel, tiledKernel, times } from "./matmul-parts.ts";
import type { Tier } from "./tier.ts";

/** 28 KiB of workgroup memory: more than the portable 16, less than what anything with matrix units has. */
export const MATRIX: Tile = { rows: 128, columns: 128, step: 32, invocations: 256, enough: 256 };

/** Eight subgroups of 32, each with 64 rows and 32 columns of the tile, whose sums it keeps in registers. */
const SUBGROUP = 32;
const [ROWS, COLUMNS] = [64, 32];

/** Elements between lines in workgroup memory: those that are read together begin on different banks. */
const PAD = 8;

type Unit = NonNullable<Tier["matrix"]>;

/**
 * Products on matrix units, which multiply M × K by K × N values of f16 at a time and sum in f32. Factors are rounded on
 * their way to workgroup memory, where they lie as they do in their tensor: the units take either layout.
 */
export function matrixTiled(tile: Tile, product: Product, { M, N, K }: Unit): TiledKernel {
  const { rows, columns, step, invocations } = tile;
  const a = side("a", "row", rows, tile, !product.transA);
  const b = side("b", "column", columns, tile, product.transB);
  const [down, across] = [ROWS / M, COLUMNS / N];
  const sums = (code: (r: number, c: number) => string) =>
    times(down, (r) => times(across, (c) => code(r, c)));
  const left = (r: number, k: number) =>
    a.load(`subgroup_matrix_left<f16, ${K}, ${M}>`, `rows + ${r * M}u`, k, "row_major", "col_major");
  const right = (c: number, k: number) =>
    b.load(`subgroup_matrix_right<f16, ${N}, ${K}>`, `columns + ${c * N}u`, k, "col_major", "row_major");

  return tiledKernel(
    "matmul-matrix",
    tile,
    product,
    /* wgsl */ `
${a.memory}
${b.memory}
// For each subgroup one matrix of sums, on its way out.
var<workgroup> sums: array<f32, ${(invocations / SUBGROUP) * M * N}>;

// A subgroup's offsets are the same in all of it, which the analysis, of whole workgroups, can't see.
@diagnostic(off, chromium.subgroup_matrix_uniformity)
@compute @workgroup_size(${invocations})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) in_subgroup: u32,
) {
  let scale = scales(lane);
  let row = group.y * ${rows}u;
  let column = group.x * ${columns}u;
  let rows = subgroup % ${rows / ROWS}u * ${ROWS}u;
  let columns = subgroup / ${rows / ROWS}u * ${COLUMNS}u;
  let first = group.z * p.slice;
  let end = min(first + p.slice, p.inner);
${a.place}
${b.place}
${sums((r, c) => `  var sum_${r}_${c} = subgroup_matrix_result<f32, ${N}, ${M}>();`)}

${a.fetch("first", "scale.x", true)}
${b.fetch("first", "1.0", true)}
  for (var k = first; k < end; k += ${step}u) {
    workgroupBarrier(); // the step before has been read
${a.store}
${b.store}
    workgroupBarrier();
    // Loads take long: those of the next step begin before this one is multiplied.
    if (k + ${step}u < end) {
${a.fetch(`k + ${step}u`, "scale.x", false)}
${b.fetch(`k + ${step}u`, "1.0", false)}
    }
${times(
  step / K,
  (i) => `    {
${times(down, (r) => `      let left_${r} = ${left(r, i * K)};`)}
${times(across, (c) => `      let right_${c} = ${right(c, i * K)};`)}
${sums((r, c) => `      sum_${r}_${c} = subgroupMatrixMultiplyAccumulate(left_${r}, right_${c}, sum_${r}_${c});`)}
    }`,
)}
  }

  let mine = subgroup * ${M * N}u;
${sums(
  (r, c) => `  workgroupBarrier();
  subgroupMatrixStore<row_major>(&sums, mine, sum_${r}_${c}, ${N}u);
  workgroupBarrier();
  for (var i = in_subgroup * 4u; i < ${M * N}u; i += ${SUBGROUP * 4}u) {
    let values = vec4<f32>(sums[mine + i], sums[mine + i + 1u], sums[mine + i + 2u], sums[mine + i + 3u]);
    put(group.z, row + rows + ${r * M}u + i / ${N}u, column + columns + ${c * N}u + i % ${N}u, values * scale.y);
  }`,
)}
}`,
  );
}

/** How one factor gets to workgroup memory and from there to the matrix units. */
function side(name: "a" | "b", start: string, lines: number, tile: Tile, alongInner: boolean) {
  const { step, invocations } = tile;
  // In memory: `minor` elements lie together.
  const [major, minor] = alongInner ? [lines, step] : [step, lines];
  const stride = minor + PAD;
  const quads = (major * minor) / 4 / invocations;
  const apart = (invocations * 4) / minor;
  const position = (k: string, i: number) =>
    alongInner
      ? `${start} + ${name}_major + ${i * apart}u, ${k} + ${name}_minor`
      : `${start} + ${name}_minor, ${k} + ${name}_major + ${i * apart}u`;
  return {
    // A load takes a whole stride for its last line, too.
    memory: `var<workgroup> tile_${name}: array<f16, ${(major + 1) * stride}>;`,
    place: `  let ${name}_minor = lane % ${minor / 4}u * 4u;
  let ${name}_major = lane / ${minor / 4}u;
  let ${name}_place = ${name}_major * ${stride}u + ${name}_minor;`,
    fetch: (k: string, scale: string, declare: boolean) =>
      times(
        quads,
        (i) =>
          `  ${declare ? "var " : ""}${name}_${i} = vec4<f16>(${name}_quad(${position(k, i)}) * ${scale});`,
      ),
    store: times(quads, (i) =>
      times(4, (c) => `    tile_${name}[${name}_place + ${i * apart * stride + c}u] = ${name}_${i}[${c}];`),
    ),
    load: (type: string, line: string, k: number, whereAlong: string, whereAcross: string) => {
      const layout = alongInner ? whereAlong : whereAcross;
      const offset = alongInner ? `(${line}) * ${stride}u + ${k}u` : `${k * stride}u + ${line}`;
      return `subgroupMatrixLoad<${type}, ${layout}>(&tile_${name}, ${offset}, ${stride}u)`;
    },
  };
}
