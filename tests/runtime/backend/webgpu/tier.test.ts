import { describe, expect, test } from "bun:test";
import { describeTier, PORTABLE, possibleTiers } from "../../../../runtime/backend/webgpu/tier.ts";

function adapter(features: string[], subgroupMatrixConfigs: object[] = []) {
  return { features: new Set(features), info: { subgroupMatrixConfigs } as unknown as GPUAdapterInfo };
}
const ALL = ["subgroups", "shader-f16", "chromium-experimental-subgroup-matrix"];
const HALF_TO_SINGLE = { componentType: "f16", resultComponentType: "f32", M: 16, N: 16, K: 16 };

describe("the tiers of an adapter, best first", () => {
  test("with nothing there is the portable one", () => {
    const { tiers, missing } = possibleTiers(adapter([]), "f16");
    expect(tiers).toEqual([PORTABLE]);
    expect(missing).toEqual(ALL.map((name) => `the adapter lacks ${name}`));
  });

  test("with everything f16 asks for matrix units first, f32 for none of it", () => {
    const all = adapter(ALL, [{ ...HALF_TO_SINGLE, resultComponentType: "f16", M: 8 }, HALF_TO_SINGLE]);
    const { tiers, missing } = possibleTiers(all, "f16");
    expect(tiers.map(({ matmul, subgroups }) => `${matmul} ${subgroups}`)).toEqual([
      "subgroup-matrix true",
      "f16 true",
      "f32 true",
      "f32 false",
    ]);
    expect(tiers[0].matrix).toEqual({ M: 16, N: 16, K: 16 });
    expect(missing).toEqual([]);
    expect(possibleTiers(all, "f32").tiers.map(describeTier)).toEqual([
      "f32 products, subgroups",
      "f32 products",
    ]);
  });

  test("matrix units that sum in f16 are none", () => {
    const { tiers, missing } = possibleTiers(
      adapter(ALL, [{ ...HALF_TO_SINGLE, resultComponentType: "f16" }]),
      "f16",
    );
    expect(tiers[0].matmul).toBe("f16");
    expect(missing).toEqual(["its matrix units don't sum products of f16 in f32"]);
  });
});
