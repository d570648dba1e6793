import { requestAdapter } from "../../runtime/backend/webgpu/device/adapters.ts";
import { ReflowError } from "../../runtime/common/errors.ts";

/** Why tests on WebGPU can't run here, or undefined: they do wherever there is an adapter, a CPU in disguise too. */
export const noAdapter: string | undefined = await requestAdapter().then(
  () => undefined,
  (error: unknown) => {
    if (!(error instanceof ReflowError)) throw error;
    return error.message;
  },
);
