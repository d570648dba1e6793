/** Finds accesses past the end of memory, which WebGPU hides where it clamps them and a GPU may punish where it doesn't. */

/** The most kernels that one device counts apart. */
const KERNELS = 4096;
const BINDING = 31;

/**
 * Makes a device's kernels count their accesses past the end of bound buffers and of workgroup memory.
 *
 * @param gpu one that takes a storage buffer more than the kernels need
 * @returns how many there were, by the kernel's label
 */
export function countViolations(gpu: GPUDevice): () => Promise<Record<string, number>> {
  const labels: string[] = [];
  const size = 4 * KERNELS;
  const counts = gpu.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  const host = gpu.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });

  const { createShaderModule, createBindGroupLayout, createBindGroup } = gpu;
  gpu.createShaderModule = ({ label = "", code }) => {
    labels.push(label);
    return createShaderModule.call(gpu, { label, code: checked(code, labels.length - 1) });
  };
  gpu.createBindGroupLayout = ({ entries }) => {
    const counter = {
      binding: BINDING,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: "storage" },
    } as const;
    return createBindGroupLayout.call(gpu, { entries: [...entries, counter] });
  };
  gpu.createBindGroup = ({ layout, entries }) =>
    createBindGroup.call(gpu, {
      layout,
      entries: [...entries, { binding: BINDING, resource: { buffer: counts } }],
    });

  return async () => {
    const encoder = gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(counts, 0, host, 0, size);
    gpu.queue.submit([encoder.finish()]);
    await host.mapAsync(GPUMapMode.READ);
    const values = new Uint32Array(host.getMappedRange().slice(0));
    host.unmap();
    const violations: Record<string, number> = {};
    labels.forEach((label, kernel) => {
      if (values[kernel]) violations[label] = (violations[label] ?? 0) + values[kernel];
    });
    return violations;
  };
}

/** WGSL in which every index of an array in memory goes through a function that counts it, where it is too large. */
function checked(code: string, kernel: number): string {
  const lengths = new Map<string, string>();
  for (const [, name] of code.matchAll(/var<storage[^>]*> (\w+): array</g)) {
    lengths.set(name, `arrayLength(&${name})`);
  }
  // "array<f32, 16u * 64u>": what follows the element's type.
  for (const [, name, length] of code.matchAll(/var<workgroup> (\w+): array<(?:\w+|\w+<\w+>), ([^;]*)>;/g)) {
    lengths.set(name, `u32(${length})`);
  }
  const [enables, rest] = split(code);
  return `${enables}
@group(0) @binding(${BINDING}) var<storage, read_write> violations: array<atomic<u32>>;
fn within(i: u32, length: u32) -> u32 {
  if (i < length) { return i; }
  atomicAdd(&violations[${kernel}u], 1u);
  return length - 1u;
}
${indices(rest, lengths)}`;
}

/** Directives come first in a module. */
function split(code: string): [string, string] {
  const lines = code.split("\n");
  const end = lines.findIndex((line) => !/^(enable|requires|diagnostic) ?/.test(line));
  return [lines.slice(0, end).join("\n"), lines.slice(end).join("\n")];
}

function indices(code: string, lengths: ReadonlyMap<string, string>): string {
  let [done, left] = ["", code];
  for (;;) {
    const found = /\b(\w+)\[/.exec(left);
    if (!found) return done + left;
    const [head, name] = found;
    const start = found.index + head.length;
    const end = closing(left, start);
    const index = indices(left.slice(start, end), lengths);
    const length = lengths.get(name);
    done += left.slice(0, start) + (length ? `within(u32(${index}), ${length})` : index);
    left = left.slice(end);
  }
}

/** Where the bracket that was open before `start` closes. */
function closing(code: string, start: number): number {
  for (let [at, open] = [start, 1]; ; at++) {
    if (code[at] === "[") open++;
    if (code[at] === "]" && --open === 0) return at;
  }
}
