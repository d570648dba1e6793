import type { WebgpuDevice } from "./device/device.ts";
import { kernel, times, WORKGROUP } from "./device/kernel.ts";

/** Chains of four lanes that don't wait for each other, and multiply-adds of each in a step. */
const CHAINS = 8;
const LINKS = 4;

// What it multiplies with comes from the caller: a compiler that knew it would multiply once.
const ROOF = kernel(
  "roof",
  { out: "write" },
  { steps: "u32", factor: "f32", term: "f32" },
  /* wgsl */ `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
${times(CHAINS, (c) => `  var x_${c} = vec4<f32>(f32(id.x + ${c}u));`)}
  for (var i = 0u; i < p.steps; i++) {
${times(LINKS, () => times(CHAINS, (c) => `    x_${c} = x_${c} * p.factor + p.term;`))}
  }
  let sum = ${times(CHAINS, (c) => `x_${c}`, " + ")};
  // Never so, which a compiler can't know.
  if (sum.x + sum.y + sum.z + sum.w == p.factor) { set_out(0u, sum.x); }
}`,
);
const OPERATIONS = WORKGROUP * CHAINS * LINKS * 4 * 2;

/** Many for each multiprocessor of a large GPU, so that none is without work for long. */
const MOST_GROUPS = 8192;

/**
 * The roof in operations a second: multiply-adds of f32 in registers, nothing loaded or stored. No f32 kernel does more. The
 * best of some runs of tens of milliseconds, since whatever else the machine does only slows it.
 */
export async function measureRoof(device: WebgpuDevice): Promise<number> {
  const out = device.alloc([1]);
  const run = async (groups: number, steps: number): Promise<number> => {
    const start = performance.now();
    device.run(ROOF, { out }, { steps, factor: 0.5, term: 0.75 }, groups);
    await device.read(out);
    return (performance.now() - start) / 1000;
  };
  await run(1, 1); // compiles
  // More work until what it takes to submit and to wait no longer counts: wide first, then long.
  let [groups, steps] = [8, 1];
  let seconds = await run(groups, steps);
  while (seconds < 0.02) {
    if (groups < MOST_GROUPS) groups *= 4;
    else steps *= 4;
    seconds = await run(groups, steps);
  }
  for (let i = 0; i < 4; i++) seconds = Math.min(seconds, await run(groups, steps));
  device.free(out);
  return (groups * steps * OPERATIONS) / seconds;
}
