/** Access to WebGPU: built into the platform (browsers, Deno), or Dawn through the package `webgpu` (Bun, Node). */
import { ReflowError } from "../../../common/errors.ts";
import { pciGpus, quietDrivers, setEnvironment } from "./drivers.ts";

/**
 * Dawn toggles: f16 and matrix units on NVIDIA, no zeroing of workgroup memory, and no bounds checks. Every kernel writes
 * workgroup memory before it reads it (and SwiftShader takes 2 seconds to compile the zeroing of one kernel). No kernel
 * accesses memory outside its buffers, which a test verifies; clamping every index would halve the speed of products on
 * matrix units (H100: 65 instead of 135 TFLOP/s for f16).
 */
const DAWN_TOGGLES =
  "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,disable_workgroup_init,disable_robustness";

// If one of Dawn's GPU objects is garbage-collected, Bun (1.4) crashes: this global keeps them reachable.
const kept = globalThis as { __reflowGpus?: GPU[] };

/** An adapter to compute on, in the order of the indices in `--device webgpu:N`. */
export interface ListedAdapter {
  /** The name that the driver reports; identical GPUs have the same name. */
  name: string;
  /** PCI address such as `0000:21:00.0`; present if it is needed to distinguish identical adapters. */
  pci?: string;
}

/**
 * The adapters of this machine, by name. On platforms that do not list adapters (Deno, browsers), it is the adapter that
 * they offer first, or the GPUs on the PCI bus if there are several.
 *
 * @throws ReflowError `device` if WebGPU is not available
 */
export function listAdapters(): Promise<ListedAdapter[]> {
  listed ??= list();
  return listed;
}

/** Determined once in a process: after one of several identical GPUs is selected, only that one is visible. */
let listed: Promise<ListedAdapter[]> | undefined;

async function list(): Promise<ListedAdapter[]> {
  const dawn = await loadDawn();
  if (dawn) return withAddresses(await dawnAdapters(dawn));
  const gpus = await pciGpus();
  if (gpus.length > 1) return gpus.map((pci) => ({ name: `GPU ${pci}`, pci }));
  const adapter = await navigator.gpu.requestAdapter();
  return adapter && !isNull(adapter) ? [{ name: adapterName(adapter.info) }] : [];
}

/**
 * The N-th adapter of {@link listAdapters}, or the one that the platform prefers.
 *
 * WebGPU cannot distinguish identical GPUs. For these, Mesa's device-select layer selects one by its address on the PCI
 * bus. The selection applies to the whole process, which can therefore use only one of them.
 *
 * @throws ReflowError `device` if there is none. Dawn's null adapter, which accepts everything and does nothing, does not
 *   count
 */
export async function requestAdapter(index?: number): Promise<GPUAdapter> {
  const gpu = index === undefined ? await preferredGpu() : await selectedGpu(index);
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter && !isNull(adapter)) return adapter;
  throw noAdapter(adapter ? "WebGPU offers only its null adapter, which computes nothing" : undefined);
}

const noAdapter = (message = "WebGPU finds no adapter") =>
  new ReflowError(
    "device",
    message,
    "install a Vulkan driver and its loader (Debian: libvulkan1), or use --device wasm",
  );

/** A display name. Dawn reports the device, and the driver as the description; Deno reports the name as the description. */
export function adapterName({ device, description, vendor, architecture }: GPUAdapterInfo): string {
  const reported = [device, description]
    .map((text) => text.replace(/[-\0]+$/, ""))
    .filter((text) => /[a-z]{2}/i.test(text));
  return reported.join(", ") || [vendor, architecture].filter(Boolean).join(" ") || "an unnamed adapter";
}

const isNull = ({ info }: GPUAdapter): boolean => /\bnull\b/i.test(`${info.device} ${info.description}`);

type Dawn = typeof import("webgpu");

/** Undefined if WebGPU is built into the platform. */
async function loadDawn(): Promise<Dawn | undefined> {
  await quietDrivers();
  if (globalThis.navigator?.gpu) return undefined;
  if (typeof document !== "undefined") {
    throw new ReflowError("device", "this browser has no WebGPU", "use wasm");
  }
  try {
    // A variable, so that bundlers for browsers do not follow the import.
    const name = "webgpu";
    const dawn = (await import(name)) as Dawn;
    Object.assign(globalThis, dawn.globals);
    return dawn;
  } catch (cause) {
    throw webgpuMissing(cause as NodeJS.ErrnoException);
  }
}

function webgpuMissing(cause: NodeJS.ErrnoException): ReflowError {
  const what = cause.code === "ERR_MODULE_NOT_FOUND" ? "it is not installed" : cause.message;
  return new ReflowError(
    "device",
    `the package webgpu, which WebGPU requires in Bun and Node.js, cannot be loaded: ${what}`,
    "install it: npm install webgpu@0.6.2 (in a clone of the repository: bun install); or use --device wasm",
    { cause },
  );
}

function createGpu({ create }: Dawn, ...options: string[]): GPU {
  const gpu = create([DAWN_TOGGLES, ...options]);
  kept.__reflowGpus ??= [];
  kept.__reflowGpus.push(gpu);
  return gpu;
}

async function preferredGpu(): Promise<GPU> {
  const dawn = await loadDawn();
  return dawn ? createGpu(dawn) : navigator.gpu;
}

async function selectedGpu(index: number): Promise<GPU> {
  const adapters = await listAdapters();
  const chosen = adapters[index];
  if (!chosen) {
    const available = adapters.map(({ name }, i) => `webgpu:${i} (${name})`).join(", ");
    throw new ReflowError(
      "device",
      `there is no adapter webgpu:${index}`,
      available ? `available: ${available}` : noAdapter().help,
    );
  }
  const dawn = await loadDawn();
  if (chosen.pci) {
    await setEnvironment("DRI_PRIME", `pci-${chosen.pci.replaceAll(/[:.]/g, "_")}!`);
    const left = dawn ? (await dawnAdapters(dawn)).length : 1;
    if (left !== 1) {
      throw new ReflowError(
        "device",
        `${left} adapters are named ${chosen.name}, and this process cannot select one of them`,
        "install Mesa's device-select layer (Debian: mesa-vulkan-drivers), or make one GPU visible to each process (in a container: NVIDIA_VISIBLE_DEVICES)",
      );
    }
  }
  return dawn ? createGpu(dawn, `adapter=${chosen.name}`) : navigator.gpu;
}

/** Dawn lists its adapters only in the error for an adapter that does not exist. */
async function dawnAdapters(dawn: Dawn): Promise<string[]> {
  try {
    await createGpu(dawn, "adapter=none of them").requestAdapter();
    return [];
  } catch (error) {
    return [...(error as Error).message.matchAll(/name: '(.*)'/g)].map(([, name]) => name);
  }
}

/** Adds PCI addresses: adapters of one name are on the PCI bus in the order in which Vulkan lists them. */
async function withAddresses(names: string[]): Promise<ListedAdapter[]> {
  const gpus = await pciGpus();
  return names.map((name, i) => {
    const twins = names.filter((other) => other === name).length;
    return twins > 1 && gpus.length === names.length ? { name, pci: gpus[i] } : { name };
  });
}
