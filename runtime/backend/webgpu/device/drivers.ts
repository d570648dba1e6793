/** Information about GPUs from the operating system: Linux, under Bun, Deno or Node. */

const onLinux = () => typeof document === "undefined" && globalThis.process?.platform === "linux";

/** PCI addresses (`0000:21:00.0`) of display and 3D controllers; empty if they cannot be determined. */
export async function pciGpus(): Promise<string[]> {
  if (!onLinux()) return [];
  const { readdirSync, readFileSync } = await import("node:fs");
  const folder = "/sys/bus/pci/devices";
  try {
    const isGpu = (address: string) => readFileSync(`${folder}/${address}/class`, "utf8").startsWith("0x03");
    return readdirSync(folder).filter(isGpu).sort();
  } catch {
    return []; // a container without /sys
  }
}

/** Whether loading a driver can succeed: on Linux every GPU that a process may use has a device file. */
export async function mayHaveGpu(): Promise<boolean> {
  if (!onLinux()) return true;
  const { existsSync, readdirSync } = await import("node:fs");
  const render = existsSync("/dev/dri") && readdirSync("/dev/dri").some((name) => name.startsWith("renderD"));
  return render || existsSync("/dev/nvidia0") || existsSync("/dev/dxg");
}

/** Sets an environment variable for drivers too: Bun's `process.env` does not change the C library's environment. */
export async function setEnvironment(name: string, value: string): Promise<void> {
  process.env[name] = value;
  if (!("Bun" in globalThis) || !onLinux()) return;
  // A variable, so that bundlers for browsers do not follow the import.
  const ffi = "bun:ffi";
  const { dlopen } = (await import(ffi)) as typeof import("bun:ffi");
  const libc = dlopen("libc.so.6", { setenv: { args: ["cstring", "cstring", "i32"], returns: "i32" } });
  libc.symbols.setenv(Buffer.from(`${name}\0`), Buffer.from(`${value}\0`), 1);
  libc.close();
}

/** Mesa's drivers print a warning if there is no folder for session sockets, which are not used here. */
export async function quietDrivers(): Promise<void> {
  if (!onLinux() || process.env.XDG_RUNTIME_DIR) return;
  const { tmpdir } = await import("node:os");
  await setEnvironment("XDG_RUNTIME_DIR", tmpdir());
}
