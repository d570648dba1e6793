/** Kernels with one workgroup for each row, which compute sums or maxima over it. */
import { type Access, type Constants, type Kernel, kernel, WORKGROUP } from "../device/kernel.ts";
import type { Tier } from "../device/tier.ts";

/**
 * A kernel with one workgroup for each of `p.M` rows. `code` is a function body with the row's index `row` and the
 * invocation's index in the workgroup `lane`. It can use these functions; the `workgroup_` functions must be called by all
 * invocations.
 *
 * - `workgroup_sum(x)`, `workgroup_max(x)`: over the workgroup, returned to all invocations; deterministic to the bit.
 * - `sum_of(x)`, `max_of(x)`: over the elements of a `vecW`.
 * - `is_finite(x)`: whether all elements of a `vecW` are finite, by their bits: compilers may assume that every float is.
 * - `is_column(c, column)`: whether each element of the row's c-th `vecW` is the row's `column`-th element.
 */
export function rowwise<Binding extends string, Param extends string = never>(
  name: string,
  bindings: Record<Binding, Access>,
  code: string,
  params = {} as Record<Param, "u32" | "f32">,
  declarations = "",
): Kernel<Binding, Param | "M"> {
  const all = { ...params, M: "u32" } as Record<Param | "M", "u32" | "f32">;
  return kernel(
    name,
    bindings,
    all,
    (tier, constants) => /* wgsl */ `
${reductions(tier, constants)}
${declarations}
@compute @workgroup_size(${WORKGROUP})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
  ${tier.subgroups ? "@builtin(subgroup_size) size: u32," : ""}
) {
  let row = group.x + group.y * groups.x;
  if (row >= p.M) { return; }
  lane = invocation;
  ${tier.subgroups ? "subgroup = size;" : ""}
${code}
}`,
  );
}

function reductions({ subgroups }: Tier, { W }: Constants): string {
  const reduce = subgroups ? bySubgroups : byMemory;
  return /* wgsl */ `
const LANES = ${WORKGROUP}u;
var<private> lane: u32;
${subgroups ? SUBGROUP_PARTS : MEMORY_PARTS}
${reduce("workgroup_sum", "subgroupAdd", (a, b) => `${a} + ${b}`)}
${reduce("workgroup_max", "subgroupMax", (a, b) => `max(${a}, ${b})`)}
${W === 4 ? ELEMENTS_OF_FOUR : ""}${W === 1 ? ELEMENTS_OF_ONE : ""}`;
}

const ELEMENTS_OF_FOUR = /* wgsl */ `
fn sum_of(x: vecW) -> f32 { return (x.x + x.y) + (x.z + x.w); }
fn max_of(x: vecW) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }
fn is_finite(x: vecW) -> bool {
  let infinity = vec4<u32>(0x7f800000u);
  return all((bitcast<vec4<u32>>(x) & infinity) != infinity);
}
fn is_column(c: u32, column: u32) -> vec4<bool> {
  return vec4<u32>(4u * c) + vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(column);
}`;
const ELEMENTS_OF_ONE = /* wgsl */ `
fn sum_of(x: vecW) -> f32 { return x; }
fn max_of(x: vecW) -> f32 { return x; }
fn is_finite(x: vecW) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }
fn is_column(c: u32, column: u32) -> bool { return c == column; }`;

type Operator = (a: string, b: string) => string;

// Subgroups have at least 4 invocations.
const SUBGROUP_PARTS = /* wgsl */ `
var<private> subgroup: u32;
var<workgroup> parts: array<f32, ${WORKGROUP / 4}>;`;

const bySubgroups = (name: string, builtin: string, combine: Operator) => /* wgsl */ `
fn ${name}(x: f32) -> f32 {
  let part = ${builtin}(x);
  workgroupBarrier(); // earlier parts have been read
  if (lane % subgroup == 0u) { parts[lane / subgroup] = part; }
  workgroupBarrier();
  var whole = parts[0];
  for (var i = 1u; i < LANES / subgroup; i++) { whole = ${combine("whole", "parts[i]")}; }
  return whole;
}`;

const MEMORY_PARTS = /* wgsl */ `
var<workgroup> values: array<f32, ${WORKGROUP}>;
var<workgroup> parts: array<f32, 16>;`;

// 256 invocations in two steps of sixteen: two barriers, while repeated halving needs eight.
const byMemory = (name: string, _: string, combine: Operator) => /* wgsl */ `
fn ${name}(x: f32) -> f32 {
  values[lane] = x;
  workgroupBarrier();
  if (lane < 16u) {
    var part = x;
    for (var i = lane + 16u; i < LANES; i += 16u) { part = ${combine("part", "values[i]")}; }
    parts[lane] = part;
  }
  workgroupBarrier();
  var whole = parts[0];
  for (var i = 1u; i < 16u; i++) { whole = ${combine("whole", "parts[i]")}; }
  return whole;
}`;
