/** Detects out-of-bounds accesses, which WebGPU hides by clamping and which may fail on a GPU that does not clamp. */

/** The maximum number of kernels counted separately per device. */
const KERNELS = 4096;
const BINDING = 31;

/**
 * Makes the kernels of a device count accesses past the end of bound buffers and of workgroup memory.
 *
 * @param gpu a device that supports one storage buffer more than the kernels need
 * @returns a function that reads the number of violations by kernel label
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

/** Rewrites WGSL so that every index of an array in memory passes through a function that counts it if out of bounds. */
function checked(code: string, kernel: number): string {
  const lengths = new Map<string, string>();
  for (const [, name] of code.matchAll(/var<storage[^>]*> (\w+): array</g)) {
    lengths.set(name, `arrayLength(&${name})`);
  }
  // The length is the second argument: "array<f32, 16u * 64u>".
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

/** Splits a module into its leading directives and the rest. */
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

/** The index of the bracket that closes the one open before `start`. */
function closing(code: string, start: number): number {
  for (let [at, open] = [start, 1]; ; at++) {
    if (code[at] === "[") open++;
    if (code[at] === "]" && --open === 0) return at;
  }
}
