/**
 * WGSL fragments of the attention kernels. A workgroup owns ROWS positions of a head and iterates over other positions,
 * COLUMNS at a time, in two kinds of steps:
 *
 * - `product`: s (ROWS,COLUMNS) = x·yᵀ, with rows of D values on both sides;
 * - `accumulate`: sum (ROWS,D) += s·y.
 *
 * Both take their operands from workgroup memory, in panels of 32 columns: `left` (ROWS,32) and `right` (COLUMNS,32).
 * Invocation (r,c) computes the R rows R·r + i: columns 4c to 4c + 3 of s, and the c-th vector of four in each panel of
 * the sum. The vectors of a panel are permuted differently in each row, so that neither writes nor reads have bank
 * conflicts.
 */
import { type Constants, times } from "../device/kernel.ts";

/** Positions that a workgroup owns. */
export const ROWS = 64;
/** Positions that a workgroup processes in one step. */
export const COLUMNS = 32;

/**
 * Accessors for bindings of rows of D values (`readW` or `writeW`): `load_x(row, four)` returns a vector of four values,
 * padded with zeros; for outputs, `store_x(row, four, value)` skips values past the end of the row.
 */
export function headRows({ D, W }: Constants, inputs: readonly string[], outputs: readonly string[]): string {
  const inRow = D % 32 === 0 ? "" : `if (four < ${D / 4}u)`;
  const values = "for (var i = 4u * four; i < min(D, 4u * four + 4u); i++)";
  const get = (x: string) => /* wgsl */ `
fn load_${x}(row: u32, four: u32) -> vec4<f32> {
  var value = vec4<f32>();
  ${
    W === 4
      ? `${inRow} { value = ${x}(row * ${D / 4}u + four); }`
      : `${values} { value[i - 4u * four] = ${x}(row * D + i); }`
  }
  return value;
}`;
  const set = (x: string) => /* wgsl */ `
fn store_${x}(row: u32, four: u32, value: vec4<f32>) {
  ${
    W === 4
      ? `${inRow} { set_${x}(row * ${D / 4}u + four, value); }`
      : `${values} { set_${x}(row * D + i, value[i - 4u * four]); }`
  }
}`;
  return [...inputs.map(get), ...outputs.map(set)].join("\n");
}

/** The source of a panel's rows: positions of the binding `load` from `from` on, and zeros from `end` on. */
export interface Rows {
  load: string;
  from: string;
  end: string;
  /** The row of position 0, and the number of rows from one position to the next. */
  base: string;
  stride: string;
}

/**
 * @param D head width
 * @param R rows of an invocation: more rows need fewer reads and more registers
 */
export function tiles(D: number, R: 4 | 8) {
  const invocations = (ROWS / R) * 8;
  const panels = Math.ceil(D / 32);
  const vectors = Math.min(8, Math.ceil(D / 4));

  const stage = (side: "left" | "right", rows: number, run: number, x: Rows) => /* wgsl */ `
      for (var i = t; i < ${rows * 8}u; i += ${invocations}u) {
        let row = i / 8u;
        let v = i % 8u;
        let n = ${x.from} + row;
        var value = vec4<f32>();
        if (n < ${x.end}) { value = load_${x.load}(${x.base} + n * ${x.stride}, panel * 8u + v); }
        ${side}[row * 8u + (v ^ (row / ${run}u % 8u))] = value;
      }`;

  return {
    /** The entry point. `code` can use t, (r,c), and w, the index of the workgroup among p.groups. */
    main: (code: string) => /* wgsl */ `
var<workgroup> left: array<vec4<f32>, ${ROWS * 8}>;
var<workgroup> right: array<vec4<f32>, ${COLUMNS * 8}>;
var<workgroup> lanes: array<vec4<f32>, ${ROWS * 2}>;
const SCALE = f32(${1 / Math.sqrt(D)});
// Below any score, and finite: the weight of a masked score is zero.
const MASKED = vec4<f32>(-1e30);
const FOUR = vec4<u32>(0u, 1u, 2u, 3u);
fn max_of(x: vec4<f32>) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }
fn sum_of(x: vec4<f32>) -> f32 { return (x.x + x.y) + (x.z + x.w); }
fn add_dot(sum: f32, x: vec4<f32>, y: vec4<f32>) -> f32 {
  return fma(x.w, y.w, fma(x.z, y.z, fma(x.y, y.y, fma(x.x, y.x, sum))));
}

@compute @workgroup_size(${invocations})
fn main(
  @builtin(local_invocation_index) t: u32,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
) {
  // Among four neighbours, two share a row and two a column: each half of a subgroup reads fewer different addresses.
  let r = ((t >> 1u) & 1u) | ((t >> 4u) << 1u);
  let c = (t & 1u) | ((t >> 1u) & 6u);
  let w = group.x + group.y * grid.x;
  if (w >= p.groups) { return; }
${code}
}`,

    /** Declares s0, s1, … (R vectors of four) as x·yᵀ. */
    product: (s: string, x: Rows, y: Rows) => /* wgsl */ `
    ${times(R, (i) => `var ${s}${i} = vec4<f32>();`)}
    for (var panel = 0u; panel < ${panels}u; panel++) {
      workgroupBarrier();
      ${stage("left", ROWS, R, x)}
      ${stage("right", COLUMNS, 4, y)}
      workgroupBarrier();
      for (var v = 0u; v < ${vectors}u; v++) {
        let xs = r * ${8 * R}u + (v ^ (r % 8u));
        let ys = c * 32u + (v ^ c);
        ${times(4, (j) => `let y${j} = right[ys + ${8 * j}u];`)}
        ${times(R, (i) => {
          const dots = [..."xyzw"].map((e, j) => `add_dot(${s}${i}.${e}, x, y${j})`);
          return `{ let x = left[xs + ${8 * i}u]; ${s}${i} = vec4<f32>(${dots}); }`;
        })}
      }
    }`,

    /** Declares the sums as zeros. */
    sums: (sum: string) => times(panels, (j) => times(R, (i) => `  var ${sum}${i}_${j} = vec4<f32>();`)),

    /** sum += s·y. All invocations must have passed a barrier since they last read `left` or `right`. */
    accumulate: (sum: string, s: string, y: Rows) => /* wgsl */ `
    ${times(R, (i) => `left[(r * ${R}u + ${i}u) * 8u + (c ^ (r % 8u))] = ${s}${i};`)}
    ${times(
      panels,
      (j) => /* wgsl */ `
    {
      const panel = ${j}u;
      ${j > 0 ? "workgroupBarrier();" : ""}
      ${stage("right", COLUMNS, 4, y)}
      workgroupBarrier();
      for (var k = 0u; k < 8u; k++) {
        let xs = r * ${8 * R}u + (k ^ (r % 8u));
        let ys = k * 32u + (c ^ k);
        ${times(4, (e) => `let y${e} = right[ys + ${8 * e}u];`)}
        ${times(R, (i) => {
          const terms = [..."xyzw"].map(
            (e, n) => `${sum}${i}_${j} = fma(vec4<f32>(x.${e}), y${n}, ${sum}${i}_${j});`,
          );
          return `{ let x = left[xs + ${8 * i}u]; ${terms.join(" ")} }`;
        })}
      }
    }`,
    )}`,

    /** Stores the sums as rows of the output `x`, the i-th multiplied by `factor(i)`. */
    store: (
      x: string,
      sum: string,
      { from, end, base, stride }: Omit<Rows, "load">,
      factor: (i: number) => string = () => "1.0",
    ) =>
      times(
        R,
        (i) => /* wgsl */ `
  {
    let n = ${from} + r * ${R}u + ${i}u;
    if (n < ${end}) {
      ${times(panels, (j) => `store_${x}(${base} + n * ${stride}, ${8 * j}u + c, ${sum}${i}_${j} * ${factor(i)});`)}
    }
  }`,
      ),

    // Values per row are held by all invocations of the row, each in R/4 vectors of four.

    /** Repeats statements for each of the R/4 vectors of an invocation. */
    rowVectors: (code: (u: number) => string) => times(R / 4, code),
    /** The value of the i-th row. */
    rowValue: (x: string, i: number) => `${x}${i >> 2}.${"xyzw"[i & 3]}`,
    /** Declares x0, x1, … as the sum or maximum of part0, part1, … over the eight invocations that share rows. */
    across: (x: string, part: string, combine: (a: string, b: string) => string) => {
      const at = (u: number, lane: string) => `lanes[(${8 * u}u + ${lane}) * ${ROWS / R}u + r]`;
      return /* wgsl */ `
    ${times(R / 4, (u) => `${at(u, "c")} = ${part}${u};`)}
    workgroupBarrier();
    ${times(
      R / 4,
      (u) => /* wgsl */ `
    var ${x}${u} = ${at(u, "0u")};
    for (var lane = 1u; lane < 8u; lane++) { ${x}${u} = ${combine(`${x}${u}`, at(u, "lane"))}; }`,
    )}`;
    },
  };
}
