import type { Tensor } from "../../../runtime/backend/contract/backend.ts";
import { check, distinct, float, own, sameShape } from "./tensor.ts";

export function fill(x: Tensor, value: number): void {
  own(x).data.fill(value);
}

export function copy(out: Tensor, x: Tensor): void {
  sameShape(x, out, "copy out");
  check(x.dtype === out.dtype, `copy: expected ${x.dtype}, found ${out.dtype}`);
  check(x.dtype === "f32" || x.dtype === "i32", `copy: expected f32 or i32, found ${x.dtype}`);
  distinct(out, x);
  own(out).data.set(own(x).data);
}

export function add(out: Tensor, a: Tensor, b: Tensor): void {
  sameShape(a, b, "add b");
  sameShape(a, out, "add out");
  const [o, p, q] = [float(out), float(a), float(b)];
  for (let i = 0; i < o.length; i++) o[i] = p[i] + q[i];
}

function repeats(whole: Tensor, part: Tensor): void {
  const trailing = whole.shape.slice(whole.shape.length - part.shape.length);
  check(
    part.shape.length <= whole.shape.length && part.shape.every((n, i) => n === trailing[i]),
    `(${part.shape}) does not repeat over (${whole.shape})`,
  );
}

export function addBroadcast(x: Tensor, b: Tensor): void {
  repeats(x, b);
  distinct(x, b);
  const [values, bias] = [float(x), float(b)];
  for (let i = 0; i < values.length; i++) values[i] += bias[i % bias.length];
}

export function sumBroadcast(db: Tensor, dx: Tensor): void {
  repeats(dx, db);
  distinct(db, dx);
  const [sums, values] = [float(db), float(dx)];
  for (let i = 0; i < values.length; i++) sums[i % sums.length] += values[i];
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

export function swiglu(out: Tensor, gate: Tensor, up: Tensor): void {
  sameShape(gate, up, "swiglu up");
  sameShape(gate, out, "swiglu out");
  const [o, g, u] = [float(out), float(gate), float(up)];
  for (let i = 0; i < o.length; i++) o[i] = g[i] * sigmoid(g[i]) * u[i];
}

export function swigluBackward(dGate: Tensor, dUp: Tensor, dOut: Tensor, gate: Tensor, up: Tensor): void {
  for (const x of [dUp, dOut, gate, up]) sameShape(dGate, x, "swigluBackward");
  distinct(dGate, dUp, dOut, gate, up);
  distinct(dUp, dOut, gate, up);
  const [dg, du, d, g, u] = [dGate, dUp, dOut, gate, up].map(float);
  for (let i = 0; i < d.length; i++) {
    const s = sigmoid(g[i]);
    dg[i] = d[i] * u[i] * s * (1 + g[i] * (1 - s));
    du[i] = d[i] * g[i] * s;
  }
}

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);
const inner = (x: number): number => Math.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x ** 3));

export function gelu(out: Tensor, x: Tensor): void {
  sameShape(x, out, "gelu out");
  const [o, values] = [float(out), float(x)];
  for (let i = 0; i < o.length; i++) o[i] = 0.5 * values[i] * (1 + inner(values[i]));
}

export function geluBackward(dx: Tensor, dOut: Tensor, x: Tensor): void {
  sameShape(x, dOut, "geluBackward dOut");
  sameShape(x, dx, "geluBackward dx");
  distinct(dx, dOut, x);
  const [dv, d, values] = [float(dx), float(dOut), float(x)];
  for (let i = 0; i < d.length; i++) {
    const v = values[i];
    const t = inner(v);
    const slope = SQRT_2_OVER_PI * (1 + 3 * 0.044715 * v ** 2);
    dv[i] = d[i] * (0.5 * (1 + t) + 0.5 * v * (1 - t ** 2) * slope);
  }
}
