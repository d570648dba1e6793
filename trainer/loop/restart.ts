import type { Backend } from "../../runtime/backend/contract/backend.ts";
import { ReflowError } from "../../runtime/common/errors.ts";

export interface RestartOptions {
  create: () => Promise<Backend>;
  /** The largest number of restarts. */
  restarts: number;
  /** Called before each restart. */
  onLoss: (error: ReflowError) => void;
}

/**
 * Runs `work` on a backend. If the device is lost, runs `work` again from its start, on a new backend.
 *
 * @throws the errors of `work` and `create`; an error with code `lost` only after all restarts
 */
export async function withBackend<T>(
  { create, restarts, onLoss }: RestartOptions,
  work: (backend: Backend) => Promise<T>,
): Promise<T> {
  for (let losses = 0; ; losses++) {
    const backend = await create();
    try {
      return await work(backend);
    } catch (error) {
      if (!(error instanceof ReflowError && error.code === "lost") || losses === restarts) throw error;
      onLoss(error);
    } finally {
      backend.dispose();
    }
  }
}
