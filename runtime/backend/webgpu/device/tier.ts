/** The WGSL features that the kernels of a device use. */
export interface Tier {
  /** Row reductions use subgroup instructions rather than workgroup memory. */
  readonly subgroups: boolean;
  /**
   * Arithmetic of matrix products: f32; f16 factors with f32 sums; or the same on matrix units ("tensor cores"). Softmax,
   * norms, the loss and everything stored are f32 in each.
   */
  readonly matmul: "f32" | "f16" | "subgroup-matrix";
  /** For "subgroup-matrix": the sizes of one product on the matrix units, with f16 factors and f32 sums. */
  readonly matrix?: { M: number; N: number; K: number };
  /** WGSL extensions that every module enables. */
  readonly enables: readonly string[];
}

/** Precision of the factors of products. `f16` selects the fastest tier that passes the self-test, f32 if there is no other. */
export type Precision = "f32" | "f16";

/** Requires only what every WebGPU device has: 16 KiB of workgroup memory, 256 invocations, f32. */
export const PORTABLE: Tier = { subgroups: false, matmul: "f32", enables: [] };

/** WebGPU features that any tier uses. */
export const FEATURES = ["subgroups", "shader-f16", "chromium-experimental-subgroup-matrix"] as const;

/** An entry of Dawn's list of products that the matrix units support; see `chromium-experimental-subgroup-matrix`. */
interface SubgroupMatrixConfig {
  componentType: string;
  resultComponentType: string;
  M: number;
  N: number;
  K: number;
}

/** Whether the sizes divide the part of a tile that a subgroup computes: see `matmul-subgroup.ts`. */
const isUsable = ({ componentType, resultComponentType, M, N, K }: SubgroupMatrixConfig): boolean =>
  componentType === "f16" && resultComponentType === "f32" && 64 % M === 0 && 32 % N === 0 && 16 % K === 0;

/** The tiers whose features an adapter has, fastest first and {@link PORTABLE} last, and the reasons why others are missing. */
export function possibleTiers(
  { features, info }: { features: ReadonlySet<string>; info: GPUAdapterInfo },
  precision: Precision,
): { tiers: Tier[]; missing: string[] } {
  const missing = FEATURES.filter((name) => !features.has(name)).map((name) => `the adapter lacks ${name}`);
  const [subgroups, f16, matrices] = FEATURES.map((name) => features.has(name));
  const configs = (info as { subgroupMatrixConfigs?: SubgroupMatrixConfig[] }).subgroupMatrixConfigs ?? [];
  const matrix = info.subgroupMinSize === 32 && info.subgroupMaxSize === 32 && configs.find(isUsable);
  if (matrices && !matrix)
    missing.push("its matrix units have no product of f16 factors that sums in f32, for subgroups of 32");
  if (precision === "f32") missing.push("the requested precision is f32");
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

/** For display: "f32 products, subgroups". */
export function describeTier({ matmul, subgroups }: Tier): string {
  const products = matmul === "subgroup-matrix" ? "f16 products on matrix units" : `${matmul} products`;
  return subgroups ? `${products}, subgroups` : products;
}
