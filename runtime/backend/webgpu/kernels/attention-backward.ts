/**
 * The gradients of attention (Dao et al. 2022, algorithm 4). Weights are recomputed from the scores and `lse`: with
 * w = exp(s − lse), dw = dOut·vᵀ and delta = rowsum(dOut·out),
 *
 *   ds = w·(dw − delta)/√D,  dq = ds·k,  dk = dsᵀ·q,  dv = wᵀ·dOut.
 *
 * There is one workgroup for each block of queries for dq, and one for each block of keys for dk and dv: no sum is
 * shared between workgroups.
 */
import { kernel, times } from "../device/kernel.ts";
import { COLUMNS, headRows, ROWS, type Rows, tiles } from "./attention-tiles.ts";

const PARAMS = { groups: "u32", pairs: "u32", length: "u32", heads: "u32", kvHeads: "u32" } as const;

/** Workgroups: p.pairs = B·H for each block of ROWS queries. Writes delta (B·H, T) for {@link BACKWARD_KEYS}. */
export const BACKWARD_QUERIES = kernel(
  "attention-backward-queries",
  {
    dq: "writeW",
    delta: "write",
    dOut: "readW",
    out: "readW",
    lse: "read",
    q: "readW",
    k: "readW",
    v: "readW",
  },
  PARAMS,
  (_, constants) => {
    const { D } = constants;
    const R = D <= 64 ? 8 : 4;
    const { main, product, accumulate, sums, store, across, rowVectors, rowValue } = tiles(D, R);
    const queries: Rows = {
      load: "q",
      from: "first",
      end: "p.length",
      base: "query_base",
      stride: "p.heads",
    };
    const keys: Rows = { load: "k", from: "key", end: "p.length", base: "key_base", stride: "p.kvHeads" };
    return /* wgsl */ `
${headRows(constants, ["dOut", "out", "q", "k", "v"], ["dq"])}
${main(/* wgsl */ `
  let pair = w % p.pairs;
  // The last queries see the most keys: they start first.
  let first = (p.groups - 1u - w) / p.pairs * ${ROWS}u;
  let b = pair / p.heads;
  let h = pair % p.heads;
  let query_base = b * p.length * p.heads + h;
  let key_base = b * p.length * p.kvHeads + h * p.kvHeads / p.heads;

  ${rowVectors(
    (u) => /* wgsl */ `
  var part${u} = vec4<f32>();
  var lse${u} = vec4<f32>();
  for (var i = 0u; i < 4u; i++) {
    let n = first + r * ${R}u + ${4 * u}u + i;
    if (n < p.length) {
      let row = query_base + n * p.heads;
      for (var v = c; v < ${Math.ceil(D / 4)}u; v += 8u) { part${u}[i] += dot(load_dOut(row, v), load_out(row, v)); }
      lse${u}[i] = lse(pair * p.length + n);
    }
  }`,
  )}
  ${across("delta", "part", (a, b) => `${a} + ${b}`)}
  if (c == 0u) {
    ${rowVectors(
      (u) => /* wgsl */ `
    for (var i = 0u; i < 4u; i++) {
      let n = first + r * ${R}u + ${4 * u}u + i;
      if (n < p.length) { set_delta(pair * p.length + n, delta${u}[i]); }
    }`,
    )}
  }

${sums("dq")}
  for (var key = 0u; key < min(first + ${ROWS}u, p.length); key += ${COLUMNS}u) {
    ${product("s", queries, keys)}
    ${product("ds", { ...queries, load: "dOut" }, { ...keys, load: "v" })}
    let columns = vec4<u32>(key + 4u * c) + FOUR;
    ${times(
      R,
      (i) => /* wgsl */ `
    s${i} = select(s${i} * SCALE, MASKED, columns > vec4<u32>(first + r * ${R}u + ${i}u));
    ds${i} = exp(s${i} - ${rowValue("lse", i)}) * (ds${i} - ${rowValue("delta", i)}) * SCALE;`,
    )}
    workgroupBarrier();
    ${accumulate("dq", "ds", keys)}
  }
  ${store("dq", "dq", queries)}`)}`;
  },
);

/**
 * Workgroups: p.pairs = B·K for each block of ROWS keys. The query heads of a key head are added in order. Compared with
 * the forward, the tiles are transposed: rows are keys, and columns are queries.
 */
export const BACKWARD_KEYS = kernel(
  "attention-backward-keys",
  {
    dk: "writeW",
    dv: "writeW",
    dOut: "readW",
    lse: "read",
    delta: "read",
    q: "readW",
    k: "readW",
    v: "readW",
  },
  PARAMS,
  (_, constants) => {
    // Two sums and two products take twice the registers of the forward.
    const R = 4;
    const { main, product, accumulate, sums, store } = tiles(constants.D, R);
    const keys: Rows = { load: "k", from: "first", end: "p.length", base: "key_base", stride: "p.kvHeads" };
    const queries: Rows = {
      load: "q",
      from: "query",
      end: "p.length",
      base: "query_base",
      stride: "p.heads",
    };
    return /* wgsl */ `
${headRows(constants, ["dOut", "q", "k", "v"], ["dk", "dv"])}
${main(/* wgsl */ `
  let pair = w % p.pairs;
  // The first keys are seen by the most queries: they start first.
  let first = w / p.pairs * ${ROWS}u;
  let b = pair / p.kvHeads;
  let key_base = b * p.length * p.kvHeads + pair % p.kvHeads;
  let shared_by = p.heads / p.kvHeads;

${sums("dk")}
${sums("dv")}
  for (var head = pair * shared_by; head < (pair + 1u) * shared_by; head++) {
    let query_base = b * p.length * p.heads + head % p.heads;
    for (var query = first; query < p.length; query += ${COLUMNS}u) {
      ${product("s", keys, queries)}
      ${product("ds", { ...keys, load: "v" }, { ...queries, load: "dOut" })}
      let columns = vec4<u32>(query + 4u * c) + FOUR;
      // Rows of q and dOut past the end are zeros, so these columns add nothing.
      var lse4 = vec4<f32>();
      var delta4 = vec4<f32>();
      for (var j = 0u; j < 4u; j++) {
        if (columns[j] < p.length) {
          lse4[j] = lse(head * p.length + columns[j]);
          delta4[j] = delta(head * p.length + columns[j]);
        }
      }
      ${times(
        R,
        (i) => /* wgsl */ `
      s${i} = select(s${i} * SCALE, MASKED, columns < vec4<u32>(first + r * ${R}u + ${i}u));
      s${i} = exp(s${i} - lse4);
      ds${i} = s${i} * (ds${i} - delta4) * SCALE;`,
      )}
      workgroupBarrier();
      ${accumulate("dv", "s", { ...queries, load: "dOut" })}
      workgroupBarrier();
      ${accumulate("dk", "ds", queries)}
    }
  }
  ${store("dk", "dk", keys)}
  ${store("dv", "dv", keys)}`)}`;
  },
);
