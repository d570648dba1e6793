/** Edited rows of R that replace the model's own during one call, without touching the shared weights. */
import type { Backend, Tensor } from "../backend/contract/backend.ts";
import { dot } from "../math/direction.ts";

/** Edited rows (S) of R by token id. */
export type Overlay = ReadonlyMap<number, Float32Array>;

/** recipe (M,S) = R[ids] with the edited R: overwrites the rows of edited tokens. */
export function overlayRecipes(backend: Backend, recipe: Tensor, ids: Int32Array, overlay: Overlay): void {
  const [, S] = recipe.shape;
  for (const [row, id] of ids.entries()) {
    const edited = overlay.get(id);
    if (edited) backend.write(recipe, edited, row * S);
  }
}

/** logits (N,V) = signals (N,S)·Rᵀ with the edited R: the logits of other tokens keep their bits. */
export async function overlayLogits(
  backend: Backend,
  logits: Tensor,
  signals: Tensor,
  overlay: Overlay,
): Promise<void> {
  const [[N, V], [, S]] = [logits.shape, signals.shape];
  const z = (await backend.read(signals)) as Float32Array;
  for (let row = 0; row < N; row++) {
    const readout = z.subarray(row * S, (row + 1) * S);
    for (const [id, edited] of overlay) {
      backend.write(logits, Float32Array.of(dot(readout, edited)), row * V + id);
    }
  }
}
