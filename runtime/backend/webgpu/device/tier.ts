/** What a device's kernels are written with. */
export interface Tier {
  /** Row reductions by subgroup instructions rather than through workgroup memory. */
  readonly subgroups: boolean;
  /**
   * What products are made of: f32; f16 factors with f32 sums; or the same on matrix units ("tensor cores"). Softmax,
   * norms, the loss and everything stored is f32 in each.
   */
  readonly matmul: "f32" | "f16" | "subgroup-matrix";
  /** Of "subgroup-matrix": the sizes of a product of f16 that sums in f32. */
  readonly matrix?: { M: number; N: number; K: number };
  /** WGSL extensions that every module enables. */
  readonly enables: readonly string[];
}

/** Of products' factors. `f16` is the fastest that the adapter has and that passes its test: f32, where there is nothing else. */
export type Precision = "f32" | "f16";

/** What every WebGPU device has: 16 KiB of workgroup memory, 256 invocations, f32. */
export const PORTABLE: Tier = { subgroups: false, matmul: "f32", enables: [] };

/** WebGPU features that some tier uses. */
export const FEATURES = ["subgroups", "shader-f16", "chromium-experimental-subgroup-matrix"] as const;

/** Dawn's list of products that the matrix units can do; see `chromium-experimental-subgroup-matrix`. */
interface SubgroupMatrixConfig {
  componentType: string;
  resultComponentType: string;
  M: number;
  N: number;
  K: number;
}

/** Sizes that divide what the kernels give a subgroup: see `matmul-matrix.ts`. */
const isUsable = ({ componentType, resultComponentType, M, N, K }: SubgroupMatrixConfig): boolean =>
  componentType === "f16" && resultComponentType === "f32" && 64 % M === 0 && 32 % N === 0 && 16 % K === 0;

/** The tiers that an adapter has the features for, best first and {@link PORTABLE} last, and why there aren't more. */
export function possibleTiers(
  { features, info }: { features: ReadonlySet<string>; info: GPUAdapterInfo },
  precision: Precision,
): { tiers: Tier[]; missing: string[] } {
  const missing = FEATURES.filter((name) => !features.has(name)).map((name) => `the adapter lacks ${name}`);
  const [subgroups, f16, matrices] = FEATURES.map((name) => features.has(name));
  const configs = (info as { subgroupMatrixConfigs?: SubgroupMatrixConfig[] }).subgroupMatrixConfigs ?? [];
  const matrix = info.subgroupMinSize === 32 && info.subgroupMaxSize === 32 && configs.find(isUsable);
  if (matrices && !matrix)
    missing.push("its matrix units don't sum products of f16 in f32, by subgroups of 32");
  if (precision === "f32") missing.push("products are asked for in f32");
  const withSubgroups = subgroups ? ["subgroups"] : [];
  const tiers: Tier[] = [];
  if (precision === "f16" && f16) {
    if (subgroups && matrices && matrix) {
      const { M, N, K } = matrix;
      const enables = ["f16", "subgroups", "chromium_experimental_subgroup_matrix"];
      tiers.push({ subgroups, matmul: "subgroup-matrix", matrix: { M, N, K }, enables });
    }
    tiers.push({ subgroups, matmul: "f16", enables: ["f16", ...withSubgroups] });
  }
  if (subgroups) tiers.push({ subgroups, matmul: "f32", enables: withSubgroups });
  tiers.push(PORTABLE);
  return { tiers, missing };
}

/** "f32 products, subgroups" */
export function describeTier({ matmul, subgroups }: Tier): string {
  const products = matmul === "subgroup-matrix" ? "f16 products on matrix units" : `${matmul} products`;
  return subgroups ? `${products}, subgroups` : products;
}
