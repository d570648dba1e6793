import type { Tensor } from "../../contract/backend.ts";
import { type WebgpuDevice, widthFor } from "../device/device.ts";
import { type Constants, kernel, times, WORKGROUP } from "../device/kernel.ts";

/** Maximum number of rows that share one read of each weight. */
export const FEW_ROWS = 8;

/** Invocations of a team, which reads one row of weights, and teams of a workgroup. */
const LANES = 32;
const TEAMS = WORKGROUP / LANES;

/**
 * out = a·bᵀ for few rows, limited by the time to read b: each row of b is read once, by neighbouring invocations, while
 * the `M` rows of a come from the cache. A team processes `PER` rows of b at a time, which share the reads of a.
 *
 * Sums over 32 lanes go through workgroup memory with a single barrier, also if there are subgroups: their size varies.
 */
const ROWS = kernel(
  "matmul-rows",
  { out: "write", a: "readW", b: "readW" },
  { columns: "u32", inner: "u32", accumulate: "u32" },
  (_, constants) => code(constants, () => ""),
);

const SCALED_ROWS = kernel(
  "matmul-rows-i8",
  { out: "write", a: "readW", b: "readW", b_scale: "read" },
  { columns: "u32", inner: "u32", accumulate: "u32" },
  (_, constants) =>
    code(
      constants,
      (column) => ` * b_scale(${column} * ((p.inner + 31u) / 32u) + i * ${constants.W}u / 32u)`,
    ),
);

function code({ M, PER, W }: Constants, scale: (column: string) => string): string {
  const outputs = M * PER * TEAMS;
  const each = (text: (m: number, c: number) => string) => times(M, (m) => times(PER, (c) => text(m, c)));
  return /* wgsl */ `
// Indexed by lane, row and column. One element of padding puts lanes that store the same output on different banks.
var<workgroup> parts: array<f32, ${LANES * (outputs + 1)}>;
fn sum_of(x: vecW) -> f32 { return ${W === 4 ? "(x.x + x.y) + (x.z + x.w)" : "x"}; }

@compute @workgroup_size(${WORKGROUP})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let first = (group.x + group.y * groups.x) * ${TEAMS * PER}u;
  let lane = invocation % ${LANES}u;
  let team = invocation / ${LANES}u;
  let length = p.inner / ${W}u;
${times(PER, (c) => `  let column_${c} = min(first + team * ${PER}u + ${c}u, p.columns - 1u);`)}
${each((m, c) => `  var sum_${m}_${c} = vecW();`)}
  for (var i = lane; i < length; i += ${LANES}u) {
${times(PER, (c) => `    let b_${c} = b(column_${c} * length + i)${scale(`column_${c}`)};`)}
${times(M, (m) => `    let a_${m} = a(${m}u * length + i);`)}
${each((m, c) => `    sum_${m}_${c} += a_${m} * b_${c};`)}
  }
  let part = lane * ${outputs + 1}u + team * ${PER}u;
${each((m, c) => `  parts[part + ${m * TEAMS * PER + c}u] = sum_of(sum_${m}_${c});`)}
  workgroupBarrier();

  let row = invocation / ${TEAMS * PER}u;
  let column = first + invocation % ${TEAMS * PER}u;
  if (row >= ${M}u || column >= p.columns) { return; }
  var sum = 0.0;
  for (var l = 0u; l < ${LANES}u; l++) { sum += parts[l * ${outputs + 1}u + invocation]; }
  let at = row * p.columns + column;
  if (p.accumulate != 0u) { sum += out(at); }
  set_out(at, sum);
}`;
}

/** out (M,N) = a (M,K)·bᵀ, or += it, for at most {@link FEW_ROWS} rows; b (N,K) is f32, f16 or i8. */
export function multiplyRows(
  device: WebgpuDevice,
  out: Tensor,
  a: Tensor,
  b: Tensor,
  accumulate: boolean,
): void {
  const [M, K] = a.shape;
  const N = b.shape[0];
  // With small matrices each team has one row; with large ones enough rows to keep several reads in flight.
  const PER = N < 4096 ? 1 : Math.min(4, Math.floor(FEW_ROWS / M));
  const constants = { M, PER, ...widthFor(K, a, b) };
  const params = { columns: N, inner: K, accumulate: +accumulate };
  const groups = N / (TEAMS * PER);
  if (b.scale) device.run(SCALED_ROWS, { out, a, b, b_scale: b.scale }, params, groups, constants);
  else device.run(ROWS, { out, a, b }, params, groups, constants);
}
