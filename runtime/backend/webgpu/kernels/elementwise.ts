/** Ops with one invocation for each element, or for each four elements. */
import type { Tensor } from "../../contract/backend.ts";
import { checkShapes } from "../../contract/tensors.ts";
import { sameShape, type WebgpuDevice, widthFor } from "../device/device.ts";
import { elementwise, type Kernel, WORKGROUP } from "../device/kernel.ts";

/** Runs an elementwise kernel over tensors of one size, four elements at a time if size and alignment allow it. */
export function runElementwise<Binding extends string, Param extends string>(
  device: WebgpuDevice,
  kernel: Kernel<Binding, Param | "size">,
  tensors: Record<Binding, Tensor>,
  size: number,
  params = {} as Record<Exclude<Param, "size">, number>,
): void {
  const { W } = widthFor(size, ...Object.values<Tensor>(tensors));
  const all = { ...params, size: size / W } as Record<Param | "size", number>;
  device.run(kernel, tensors, all, size / W / WORKGROUP, { W });
}

const FILL = elementwise("fill", { x: "writeW" }, "  set_x(i, vecW(p.value));", { value: "f32" });
const COPY = elementwise("copy", { out: "writeW", x: "readW" }, "  set_out(i, x(i));");
const ADD = elementwise("add", { out: "writeW", a: "readW", b: "readW" }, "  set_out(i, a(i) + b(i));");
const ADD_BROADCAST = elementwise(
  "add-broadcast",
  { x: "writeW", b: "readW" },
  "  set_x(i, x(i) + b(i % p.period));",
  { period: "u32" },
);

export function fill(device: WebgpuDevice, x: Tensor, value: number): void {
  checkShapes(x.dtype === "f32", "fill", x);
  runElementwise(device, FILL, { x }, x.size, { value });
}

export function copy(device: WebgpuDevice, out: Tensor, x: Tensor): void {
  checkShapes(
    sameShape(out, x) && out.dtype === x.dtype && (x.dtype === "f32" || x.dtype === "i32"),
    "copy",
    out,
    x,
  );
  runElementwise(device, COPY, { out, x }, x.size);
}

export function add(device: WebgpuDevice, out: Tensor, a: Tensor, b: Tensor): void {
  checkShapes(sameShape(out, a, b), "add", out, a, b);
  runElementwise(device, ADD, { out, a, b }, out.size);
}

export function addBroadcast(device: WebgpuDevice, x: Tensor, b: Tensor): void {
  checkShapes(broadcasts(x, b), "addBroadcast", x, b);
  const { W } = widthFor(b.size, x, b);
  const size = x.size / W;
  device.run(ADD_BROADCAST, { x, b }, { size, period: b.size / W }, size / WORKGROUP, { W });
}

/** Whether the last dimensions of x are those of b. */
export const broadcasts = (x: Tensor, b: Tensor): boolean =>
  `${x.shape.slice(-b.shape.length)}` === `${b.shape}`;

// The exponents are bounded: WGSL does not specify a division by more than 2^126.
const SIGMOID = "1.0 / (1.0 + exp(clamp(-g, vecW(-87.0), vecW(87.0))))";

const SWIGLU = elementwise(
  "swiglu",
  { out: "writeW", gate: "readW", up: "readW" },
  /* wgsl */ `
  let g = gate(i);
  set_out(i, g * (${SIGMOID}) * up(i));`,
);

// dUp = dOut·silu(g); dGate = dOut·up·(σ + g·σ·(1 − σ))
const SWIGLU_BACKWARD = elementwise(
  "swiglu-backward",
  { dGate: "writeW", dUp: "writeW", dOut: "readW", gate: "readW", up: "readW" },
  /* wgsl */ `
  let g = gate(i);
  let d = dOut(i);
  let s = ${SIGMOID};
  let silu = g * s;
  set_dGate(i, d * up(i) * (s + silu * (1.0 - s)));
  set_dUp(i, d * silu);`,
);

export function swiglu(device: WebgpuDevice, out: Tensor, gate: Tensor, up: Tensor): void {
  checkShapes(sameShape(out, gate, up), "swiglu", out, gate, up);
  runElementwise(device, SWIGLU, { out, gate, up }, out.size);
}

export function swigluBackward(
  device: WebgpuDevice,
  dGate: Tensor,
  dUp: Tensor,
  dOut: Tensor,
  gate: Tensor,
  up: Tensor,
): void {
  checkShapes(sameShape(dGate, dUp, dOut, gate, up), "swigluBackward", dGate, dUp, dOut, gate, up);
  runElementwise(device, SWIGLU_BACKWARD, { dGate, dUp, dOut, gate, up }, dOut.size);
}

const ROOT = 0.7978845608;

/**
 * gelu(x) = x/2·(1 + tanh u), u = √(2/π)·(x + 0.044715·x³) (Hendrycks & Gimpel 2016). tanh u = 1 − 2/(e^2u + 1), since
 * WGSL's own tanh may be off by 1e-5. Beyond ±9 it is ±1; within, x² and e^2u are finite.
 */
const TANH = /* wgsl */ `
  let y = x(i);
  let near = clamp(y, vecW(-9.0), vecW(9.0));
  let square = near * near;
  let t = 1.0 - 2.0 / (exp(2.0 * ${ROOT} * near * (1.0 + 0.044715 * square)) + 1.0);`;

const GELU = elementwise(
  "gelu",
  { out: "writeW", x: "readW" },
  /* wgsl */ `${TANH}
  set_out(i, 0.5 * y * (1.0 + t));`,
);

// dx = dOut·((1 + t)/2 + x/2·(1 − t²)·u′)
const GELU_BACKWARD = elementwise(
  "gelu-backward",
  { dx: "writeW", dOut: "readW", x: "readW" },
  /* wgsl */ `${TANH}
  let slope = ${ROOT} * (1.0 + 3.0 * 0.044715 * square);
  set_dx(i, dOut(i) * (0.5 * (1.0 + t) + 0.5 * y * (1.0 - t * t) * slope));`,
);

export function gelu(device: WebgpuDevice, out: Tensor, x: Tensor): void {
  checkShapes(sameShape(out, x), "gelu", out, x);
  runElementwise(device, GELU, { out, x }, out.size);
}

export function geluBackward(device: WebgpuDevice, dx: Tensor, dOut: Tensor, x: Tensor): void {
  checkShapes(sameShape(dx, dOut, x), "geluBackward", dx, dOut, x);
  runElementwise(device, GELU_BACKWARD, { dx, dOut, x }, x.size);
}
