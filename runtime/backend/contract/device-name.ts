/** `webgpu:N` is the N-th adapter that `devices` lists; `auto` a GPU where there is one, and the CPU elsewhere. */
export type DeviceName = "auto" | "wasm" | "webgpu" | `webgpu:${number}`;

export function isDeviceName(name: string): name is DeviceName {
  return /^(auto|wasm|webgpu(:\d+)?)$/.test(name);
}
