import type { Tensor } from "../../../runtime/backend/contract/backend.ts";
import { distinct, expectShape, float, matrix, sameShape } from "./tensor.ts";

const EPS = 1e-5;
const mean = (x: Float64Array): number => x.reduce((sum, v) => sum + v, 0) / x.length;
const row = (x: Float64Array, r: number, C: number): Float64Array => x.subarray(r * C, (r + 1) * C);

export function rmsnorm(out: Tensor, rstd: Tensor, x: Tensor, weight: Tensor): void {
  const [M, C] = matrix(x, "rmsnorm x");
  sameShape(x, out, "rmsnorm out");
  expectShape(rstd, [M], "rmsnorm rstd");
  expectShape(weight, [C], "rmsnorm weight");
  distinct(out, rstd, x, weight);
  const [o, r, w] = [float(out), float(rstd), float(weight)];
  for (let m = 0; m < M; m++) {
    const values = row(float(x), m, C);
    r[m] = 1 / Math.sqrt(mean(values.map((v) => v * v)) + EPS);
    for (let c = 0; c < C; c++) o[m * C + c] = values[c] * r[m] * w[c];
  }
}

export function rmsnormBackward(
  dx: Tensor,
  dWeight: Tensor,
  dOut: Tensor,
  x: Tensor,
  weight: Tensor,
  rstd: Tensor,
): void {
  const [M, C] = matrix(x, "rmsnormBackward x");
  for (const t of [dx, dOut]) sameShape(x, t, "rmsnormBackward");
  for (const t of [dWeight, weight]) expectShape(t, [C], "rmsnormBackward weight");
  expectShape(rstd, [M], "rmsnormBackward rstd");
  for (const t of [dx, dWeight]) distinct(t, dOut, x, weight, rstd);
  const [d, dw, w] = [float(dx), float(dWeight), float(weight)];
  for (let m = 0; m < M; m++) {
    const r = float(rstd)[m];
    const normal = row(float(x), m, C).map((v) => v * r);
    const g = row(float(dOut), m, C);
    const dNormal = g.map((v, c) => v * w[c]);
    const along = mean(dNormal.map((v, c) => v * normal[c]));
    for (let c = 0; c < C; c++) {
      d[m * C + c] += r * (dNormal[c] - normal[c] * along);
      dw[c] += g[c] * normal[c];
    }
  }
}

export function layernorm(out: Tensor, stats: Tensor, x: Tensor, weight: Tensor, bias: Tensor): void {
  const [M, C] = matrix(x, "layernorm x");
  sameShape(x, out, "layernorm out");
  expectShape(stats, [M, 2], "layernorm stats");
  for (const t of [weight, bias]) expectShape(t, [C], "layernorm weight or bias");
  distinct(out, stats, x, weight, bias);
  const [o, s, w, b] = [out, stats, weight, bias].map(float);
  for (let m = 0; m < M; m++) {
    const values = row(float(x), m, C);
    const mu = mean(values);
    const rstd = 1 / Math.sqrt(mean(values.map((v) => (v - mu) ** 2)) + EPS);
    s.set([mu, rstd], m * 2);
    for (let c = 0; c < C; c++) o[m * C + c] = (values[c] - mu) * rstd * w[c] + b[c];
  }
}

export function layernormBackward(
  dx: Tensor,
  dWeight: Tensor,
  dBias: Tensor,
  dOut: Tensor,
  x: Tensor,
  weight: Tensor,
  stats: Tensor,
): void {
  const [M, C] = matrix(x, "layernormBackward x");
  for (const t of [dx, dOut]) sameShape(x, t, "layernormBackward");
  for (const t of [dWeight, dBias, weight]) expectShape(t, [C], "layernormBackward weight or bias");
  expectShape(stats, [M, 2], "layernormBackward stats");
  for (const t of [dx, dWeight, dBias]) distinct(t, dOut, x, weight, stats);
  const [d, dw, db, w] = [dx, dWeight, dBias, weight].map(float);
  for (let m = 0; m < M; m++) {
    const [mu, rstd] = row(float(stats), m, 2);
    const normal = row(float(x), m, C).map((v) => (v - mu) * rstd);
    const g = row(float(dOut), m, C);
    const dNormal = g.map((v, c) => v * w[c]);
    const level = mean(dNormal);
    const along = mean(dNormal.map((v, c) => v * normal[c]));
    for (let c = 0; c < C; c++) {
      d[m * C + c] += rstd * (dNormal[c] - level - normal[c] * along);
      dw[c] += g[c] * normal[c];
      db[c] += g[c];
    }
  }
}
