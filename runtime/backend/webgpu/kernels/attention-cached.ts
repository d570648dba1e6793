/** Attention of single rows over caches, which decoding runs for each layer and token. */
import { elementwise, kernel, times, WORKGROUP } from "../device/kernel.ts";
import { headRows } from "./attention-tiles.ts";

/** Lanes of a team. Lane c processes the vectors c, c + 8, … of a key. */
const LANES = 8;
const TEAMS = WORKGROUP / LANES;
/** Stride between the parts of a lane, chosen so that the lanes of a team write to different memory banks. */
const PART = WORKGROUP + 4;

/**
 * There is one workgroup for each query row and head. Keys are processed in chunks of one for each invocation. Team g
 * processes the keys n ≡ g (mod TEAMS) with its own online softmax (Milakov & Gimelshein 2018); the softmaxes of the
 * teams are merged at the end.
 */
export const DECODE = kernel(
  "attention-cached",
  { out: "writeW", q: "readW", k: "readW", v: "readW", start: "read" },
  { groups: "u32", length: "u32", context: "u32", heads: "u32", kvHeads: "u32" },
  (_, constants) => {
    const { D } = constants;
    const panels = Math.ceil(D / 32);
    return /* wgsl */ `
${headRows(constants, ["q", "k", "v"], ["out"])}
var<workgroup> parts: array<f32, ${LANES * PART}>;
var<workgroup> scores: array<f32, ${WORKGROUP}>;
var<workgroup> tops: array<f32, ${TEAMS}>;
var<workgroup> sums: array<f32, ${TEAMS}>;
var<workgroup> outs: array<vec4<f32>, ${WORKGROUP}>;

@compute @workgroup_size(${WORKGROUP})
fn main(
  @builtin(local_invocation_index) t: u32,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
) {
  let w = group.x + group.y * grid.x;
  if (w >= p.groups) { return; }
  let row = w / p.heads;
  let b = row / p.length;
  let key_base = b * p.context * p.kvHeads + (w % p.heads) * p.kvHeads / p.heads;
  let seen = min(u32(start(b)) + row % p.length + 1u, p.context);
  let team = t / ${LANES}u;
  let c = t % ${LANES}u;
  ${times(panels, (j) => `let q${j} = load_q(w, ${8 * j}u + c); var out${j} = vec4<f32>();`)}
  var top = -1e30;
  var sum = 0.0;

  for (var chunk = 0u; chunk < seen; chunk += ${WORKGROUP}u) {
    for (var i = team; i < min(seen - chunk, ${WORKGROUP}u); i += ${TEAMS}u) {
      let key = key_base + (chunk + i) * p.kvHeads;
      parts[c * ${PART}u + i] = ${Array.from({ length: panels }, (_, j) => `dot(q${j}, load_k(key, ${8 * j}u + c))`).join(" + ")};
    }
    workgroupBarrier();
    var score = 0.0;
    for (var lane = 0u; lane < ${LANES}u; lane++) { score += parts[lane * ${PART}u + t]; }
    scores[t] = score * f32(${1 / Math.sqrt(D)});
    workgroupBarrier();
    var next = top;
    for (var i = team; i < min(seen - chunk, ${WORKGROUP}u); i += ${TEAMS}u) { next = max(next, scores[i]); }
    let shrink = exp(top - next);
    top = next;
    sum *= shrink;
    ${times(panels, (j) => `out${j} *= shrink;`)}
    for (var i = team; i < min(seen - chunk, ${WORKGROUP}u); i += ${TEAMS}u) {
      let key = key_base + (chunk + i) * p.kvHeads;
      let weight = exp(scores[i] - top);
      sum += weight;
      ${times(panels, (j) => `out${j} += weight * load_v(key, ${8 * j}u + c);`)}
    }
  }

  if (c == 0u) {
    tops[team] = top;
    sums[team] = sum;
  }
  workgroupBarrier();
  // A team without keys has weight zero: its maximum is below all others.
  var most = tops[0];
  for (var g = 1u; g < ${TEAMS}u; g++) { most = max(most, tops[g]); }
  var whole = 0.0;
  for (var g = 0u; g < ${TEAMS}u; g++) { whole += sums[g] * exp(tops[g] - most); }
  let share = exp(top - most) / whole;
  ${times(
    panels,
    (j) => /* wgsl */ `
  outs[t] = out${j} * share;
  workgroupBarrier();
  if (t < ${LANES}u) {
    var total = outs[t];
    for (var i = t + ${LANES}u; i < ${WORKGROUP}u; i += ${LANES}u) { total += outs[i]; }
    store_out(w, ${8 * j}u + t, total);
  }
  ${j + 1 < panels ? "workgroupBarrier();" : ""}`,
  )}
}`;
  },
);

/** One invocation for each value of x (B·T, C): p.part = T·C values belong to a sequence. Values past the end of the cache are skipped. */
export const WRITE_CACHE = elementwise(
  "write-cache",
  { cache: "writeW", x: "readW", start: "read" },
  /* wgsl */ `
  let b = i / p.part;
  let at = u32(start(b)) * p.row + i % p.part;
  if (at < p.slot) { set_cache(b * p.slot + at, x(i)); }`,
  { row: "u32", part: "u32", slot: "u32" },
);
