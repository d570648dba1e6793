import type { Backend } from "../../runtime/backend/contract/backend.ts";
import { ReflowError } from "../../runtime/common/errors.ts";

export interface RestartOptions {
  create: () => Promise<Backend>;
  /** How often a lost device is replaced. */
  restarts: number;
  /** Called before each restart. */
  onLoss: (error: ReflowError) => void;
}

/**
 * Runs `work` on a backend. Where the device is lost meanwhile, runs it again, from its beginning, on a new one; a few times
 * at most.
 *
 * @throws whatever `work` and `create` do; `lost` only after all restarts
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
