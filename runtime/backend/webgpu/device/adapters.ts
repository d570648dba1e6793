/** Where WebGPU comes from: the platform's own (browsers, Deno), or Dawn through the package `webgpu` (Bun, Node). */
import { ReflowError } from "../../../common/errors.ts";
import { pciGpus, quietDrivers, setEnvironment } from "./drivers.ts";

/**
 * Dawn's switches: f16 and matrix units on NVIDIA, and workgroup memory that is not zeroed, since every kernel writes what it
 * reads. (SwiftShader takes 2 seconds to compile the zeroing of one kernel.) No kernel leaves its buffers, which a test counts:
 * clamping every index would halve products on matrix units (H100: 65 instead of 135 TFLOP/s for f16).
 */
const DAWN_TOGGLES =
  "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,disable_workgroup_init,disable_robustness";

// Collected, one of Dawn's GPU objects takes the process with it under Bun (1.4): this global keeps them.
const kept = globalThis as { __reflowGpus?: GPU[] };

/** What there is to compute on, in the order that `--device webgpu:N` counts. */
export interface ListedAdapter {
  /** As the driver calls it; identical GPUs have the same name. */
  name: string;
  /** `0000:21:00.0`, where identical adapters are told apart by it. */
  pci?: string;
}

/**
 * The adapters of this machine, by name. Where the platform doesn't say (Deno, browsers) it is the one that it offers
 * first, or the GPUs on the PCI bus, where there are several.
 *
 * @throws ReflowError `device` where there is no WebGPU
 */
export function listAdapters(): Promise<ListedAdapter[]> {
  listed ??= list();
  return listed;
}

/** Once in a process: after one of several identical GPUs is selected, only that one shows. */
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
 * Identical GPUs can't be told apart by WebGPU: there, Mesa's device-select layer is asked for one, by its address on the PCI
 * bus. That holds for the whole process, which therefore can use one of them only.
 *
 * @throws ReflowError `device` where there is none: Dawn's null adapter, which accepts everything and does nothing, is none
 */
export async function requestAdapter(index?: number): Promise<GPUAdapter> {
  const gpu = index === undefined ? await preferredGpu() : await selectedGpu(index);
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter && !isNull(adapter)) return adapter;
  throw noAdapter(adapter ? "WebGPU offers its null adapter only, which computes nothing" : undefined);
}

const noAdapter = (message = "WebGPU finds no adapter") =>
  new ReflowError(
    "device",
    message,
    "install a Vulkan driver and its loader (Debian: libvulkan1), or use --device wasm",
  );

/** What a platform says of an adapter: Dawn's device, and its driver as the description; Deno's name, as the description. */
export function adapterName({ device, description, vendor, architecture }: GPUAdapterInfo): string {
  const said = [device, description]
    .map((text) => text.replace(/[-\0]+$/, ""))
    .filter((text) => /[a-z]{2}/i.test(text));
  return said.join(", ") || [vendor, architecture].filter(Boolean).join(" ") || "an unnamed adapter";
}

const isNull = ({ info }: GPUAdapter): boolean => /\bnull\b/i.test(`${info.device} ${info.description}`);

type Dawn = typeof import("webgpu");

/** Undefined where the platform has WebGPU of its own. */
async function loadDawn(): Promise<Dawn | undefined> {
  await quietDrivers();
  if (globalThis.navigator?.gpu) return undefined;
  if (typeof document !== "undefined") {
    throw new ReflowError("device", "this browser has no WebGPU", "use wasm");
  }
  try {
    // A name that bundlers for browsers don't follow.
    const name = "webgpu";
    const dawn = (await import(name)) as Dawn;
    Object.assign(globalThis, dawn.globals);
    return dawn;
  } catch (cause) {
    throw new ReflowError(
      "device",
      `the package webgpu can't be loaded: ${(cause as Error).message}`,
      "install the project's packages again, or use --device wasm",
      { cause },
    );
  }
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
    const there = adapters.map(({ name }, i) => `webgpu:${i} (${name})`).join(", ");
    throw new ReflowError(
      "device",
      `there is no webgpu:${index}`,
      there ? `there is ${there}` : noAdapter().help,
    );
  }
  const dawn = await loadDawn();
  if (chosen.pci) {
    await setEnvironment("DRI_PRIME", `pci-${chosen.pci.replaceAll(/[:.]/g, "_")}!`);
    const left = dawn ? (await dawnAdapters(dawn)).length : 1;
    if (left !== 1) {
      throw new ReflowError(
        "device",
        `${left} adapters are named ${chosen.name}, and this process can't choose one of them`,
        "install Mesa's device-select layer (Debian: mesa-vulkan-drivers), or show each process one GPU (in a container NVIDIA_VISIBLE_DEVICES)",
      );
    }
  }
  return dawn ? createGpu(dawn, `adapter=${chosen.name}`) : navigator.gpu;
}

/** Dawn lists its adapters only where it is asked for one that there isn't. */
async function dawnAdapters(dawn: Dawn): Promise<string[]> {
  try {
    await createGpu(dawn, "adapter=none of them").requestAdapter();
    return [];
  } catch (error) {
    return [...(error as Error).message.matchAll(/name: '(.*)'/g)].map(([, name]) => name);
  }
}

/** Adapters of one name are on the PCI bus in the order in which Vulkan lists them. */
async function withAddresses(names: string[]): Promise<ListedAdapter[]> {
  const gpus = await pciGpus();
  return names.map((name, i) => {
    const twins = names.filter((other) => other === name).length;
    return twins > 1 && gpus.length === names.length ? { name, pci: gpus[i] } : { name };
  });
}
