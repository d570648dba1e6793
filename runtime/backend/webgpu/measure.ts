import type { WebgpuDevice } from "./device/device.ts";
import { kernel, times, WORKGROUP } from "./device/kernel.ts";

/** Independent chains of four lanes, and multiply-adds of each chain in a step. */
const CHAINS = 8;
const LINKS = 4;

// The factors are parameters: with constants a compiler could compute the result in advance.
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
  // Never true, but a compiler cannot know that.
  if (sum.x + sum.y + sum.z + sum.w == p.factor) { set_out(0u, sum.x); }
}`,
);
const OPERATIONS = WORKGROUP * CHAINS * LINKS * 4 * 2;

/** Many workgroups for each multiprocessor of a large GPU, so that none is idle for long. */
const MAX_GROUPS = 8192;

/**
 * The compute roof in operations per second: f32 multiply-adds in registers, without loads or stores. No f32 kernel can
 * do more. Takes the fastest of several runs of tens of milliseconds, since other processes can only slow it.
 */
export async function measureRoof(device: WebgpuDevice): Promise<number> {
  const out = device.alloc([1]);
  const run = async (groups: number, steps: number): Promise<number> => {
    const start = performance.now();
    device.run(ROOF, { out }, { steps, factor: 0.5, term: 0.75 }, groups);
    await device.read(out);
    return (performance.now() - start) / 1000;
  };
  await run(1, 1); // compiles the kernel
  // Add work until the time to submit and wait is negligible: first more workgroups, then more steps.
  let [groups, steps] = [8, 1];
  let seconds = await run(groups, steps);
  while (seconds < 0.02) {
    if (groups < MAX_GROUPS) groups *= 4;
    else steps *= 4;
    seconds = await run(groups, steps);
  }
  for (let i = 0; i < 4; i++) seconds = Math.min(seconds, await run(groups, steps));
  device.free(out);
  return (groups * steps * OPERATIONS) / seconds;
}
