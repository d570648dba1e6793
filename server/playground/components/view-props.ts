import type { Engine, ModelInfo } from "../engine/engine.ts";

/** Properties of every view. */
export interface ViewProps {
  engine: Engine;
  info: ModelInfo;
}
