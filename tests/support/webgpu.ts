import { requestAdapter } from "../../runtime/backend/webgpu/device/adapters.ts";
import { ReflowError } from "../../runtime/common/errors.ts";

/** Why tests on WebGPU cannot run here; undefined if there is an adapter, including a software renderer. */
export const noAdapter: string | undefined = await requestAdapter().then(
  () => undefined,
  (error: unknown) => {
    if (!(error instanceof ReflowError)) throw error;
    return error.message;
  },
);
