import { rmSync } from "node:fs";
import type { Collective } from "../collective/collective.ts";
import { joinSharedMemory } from "../collective/shared-memory.ts";

/** Whether `launch` started this process. */
export const isLaunched = (): boolean => process.env.REFLOW_MEMORY !== undefined;

/** Joins the job for which `launch` started this process. From now on, this process exits when its launcher does. */
export function joinLaunched(deadlineSeconds?: number): Collective {
  const { REFLOW_RANK, REFLOW_WORLD, REFLOW_MEMORY } = process.env;
  const path = REFLOW_MEMORY!;
  const leave = () => {
    // The file keeps its name until all ranks have joined.
    rmSync(path, { force: true });
    process.exit(1);
  };
  process.stdin.on("end", leave).on("error", leave).resume();
  return joinSharedMemory(path, { rank: Number(REFLOW_RANK), world: Number(REFLOW_WORLD), deadlineSeconds });
}
