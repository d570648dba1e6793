/** softmax(q·kᵀ/√D)·v by tiles (Dao et al. 2022, FlashAttention): scores exist only in registers and workgroup memory. */
import { type Constants, kernel, times } from "../device/kernel.ts";
import { COLUMNS, headRows, ROWS, type Rows, tiles } from "./attention-tiles.ts";

const PARAMS = {
  groups: "u32",
  pairs: "u32",
  length: "u32",
  context: "u32",
  heads: "u32",
  kvHeads: "u32",
} as const;

/** Workgroups: p.pairs = B·H for each block of ROWS queries. */
export const FORWARD = kernel(
  "attention",
  { out: "writeW", lse: "write", q: "readW", k: "readW", v: "readW" },
  PARAMS,
  (_, constants) => forward(constants, false),
);

/** The same over caches of p.context positions, with the first query at position start[b]. */
export const FORWARD_CACHED = kernel(
  "attention-cached-tiles",
  { out: "writeW", q: "readW", k: "readW", v: "readW", start: "read" },
  PARAMS,
  (_, constants) => forward(constants, true),
);

function forward(constants: Constants, cached: boolean): string {
  const { D } = constants;
  const R = D <= 64 ? 8 : 4;
  const { main, product, accumulate, sums, store, across, rowVectors, rowValue } = tiles(D, R);
  const queries: Rows = { load: "q", from: "first", end: "p.length", base: "query_base", stride: "p.heads" };
  const keys: Rows = { load: "k", from: "key", end: "p.context", base: "key_base", stride: "p.kvHeads" };
  return /* wgsl */ `
${headRows(constants, ["q", "k", "v"], ["out"])}
${main(/* wgsl */ `
  let pair = w % p.pairs;
  // The last queries see the most keys: they start first.
  let first = (p.groups - 1u - w) / p.pairs * ${ROWS}u;
  let b = pair / p.heads;
  let h = pair % p.heads;
  let query_base = b * p.length * p.heads + h;
  let key_base = b * p.context * p.kvHeads + h * p.kvHeads / p.heads;
  let position = first + ${cached ? "u32(start(b))" : "0u"};
  let seen = min(position + ${ROWS}u, p.context);

  // For each row, over this invocation's columns: the largest score so far, and the sum of weights relative to it.
  ${rowVectors((u) => `var top${u} = MASKED; var sum${u} = vec4<f32>();`)}
${sums("out")}
  for (var key = 0u; key < seen; key += ${COLUMNS}u) {
    ${product("s", queries, keys)}
    let columns = vec4<u32>(key + 4u * c) + FOUR;
    ${times(R, (i) => `s${i} = select(s${i} * SCALE, MASKED, columns > vec4<u32>(position + r * ${R}u + ${i}u));`)}
    ${rowVectors((u) => `let most${u} = vec4<f32>(${[0, 1, 2, 3].map((i) => `max_of(s${4 * u + i})`)});`)}
    ${across("block", "most", (a, b) => `max(${a}, ${b})`)}
    ${rowVectors(
      (u) => /* wgsl */ `
    let next${u} = max(top${u}, block${u});
    let shrink${u} = exp(top${u} - next${u});
    top${u} = next${u};`,
    )}
    ${times(R, (i) => `s${i} = exp(s${i} - ${rowValue("next", i)});`)}
    ${rowVectors(
      (u) =>
        `sum${u} = sum${u} * shrink${u} + vec4<f32>(${[0, 1, 2, 3].map((i) => `sum_of(s${4 * u + i})`)});`,
    )}
    ${times(Math.ceil(D / 32), (j) => times(R, (i) => `out${i}_${j} *= ${rowValue("shrink", i)};`))}
    ${accumulate("out", "s", { ...keys, load: "v" })}
  }
  ${across("whole", "sum", (a, b) => `${a} + ${b}`)}
  ${rowVectors((u) => `let norm${u} = 1.0 / whole${u};`)}
  ${store("out", "out", queries, (i) => rowValue("norm", i))}
  ${
    cached
      ? ""
      : /* wgsl */ `
  if (c == 0u) {
    ${rowVectors(
      (u) => /* wgsl */ `
    for (var i = 0u; i < 4u; i++) {
      let n = first + r * ${R}u + ${4 * u}u + i;
      if (n < p.length) { set_lse(pair * p.length + n, top${u}[i] + log(whole${u}[i])); }
    }`,
    )}
  }`
  }`)}`;
}
