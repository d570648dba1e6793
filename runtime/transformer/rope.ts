import { architectureOf } from "../config/architecture.ts";
import type { ModelConfig } from "../config/config.ts";

/**
 * The rotations of rotary position embeddings (Su et al. 2021), rotate-half: pair (i, i + D/2) of a head turns by
 * position · theta^(−2i/D).
 *
 * @returns (context, D), row-major: for each position D/2 cosines, then D/2 sines; computed in float64
 */
export function ropeTable(config: ModelConfig): Float32Array {
  const { headDim: D } = architectureOf(config);
  const half = D / 2;
  const table = new Float32Array(config.context * D);
  for (let position = 0; position < config.context; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * config.rope_theta ** ((-2 * i) / D);
      table[position * D + i] = Math.cos(angle);
      table[position * D + half + i] = Math.sin(angle);
    }
  }
  return table;
}
