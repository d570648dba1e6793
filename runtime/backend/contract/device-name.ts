/** `webgpu:N` is the N-th adapter that the command `devices` lists. `auto` is a GPU if there is one, otherwise the CPU. */
export type DeviceName = "auto" | "wasm" | "webgpu" | `webgpu:${number}`;

export function isDeviceName(name: string): name is DeviceName {
  return /^(auto|wasm|webgpu(:\d+)?)$/.test(name);
}
