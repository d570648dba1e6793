import { describe, expect, test } from "bun:test";
import { describeTier, PORTABLE, possibleTiers } from "../../../../runtime/backend/webgpu/device/tier.ts";

function adapter(features: string[], subgroupMatrixConfigs: object[] = [], subgroupMaxSize = 32) {
  const info = { subgroupMinSize: 32, subgroupMaxSize, subgroupMatrixConfigs };
  return { features: new Set(features), info: info as unknown as GPUAdapterInfo };
}
const ALL = ["subgroups", "shader-f16", "chromium-experimental-subgroup-matrix"];
const HALF_TO_SINGLE = { componentType: "f16", resultComponentType: "f32", M: 16, N: 16, K: 16 };

describe("the tiers of an adapter, fastest first", () => {
  test("an adapter without features has only the portable tier", () => {
    const { tiers, missing } = possibleTiers(adapter([]), "f16");
    expect(tiers).toEqual([PORTABLE]);
    expect(missing).toEqual(ALL.map((name) => `the adapter lacks ${name}`));
  });

  test("with all features, f16 prefers matrix units, and f32 uses only subgroups", () => {
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

  test.each([
    ["that sum in f16", adapter(ALL, [{ ...HALF_TO_SINGLE, resultComponentType: "f16" }])],
    ["of subgroups of any size", adapter(ALL, [HALF_TO_SINGLE], 64)],
    ["too deep for the kernels", adapter(ALL, [{ ...HALF_TO_SINGLE, K: 32 }])],
  ])("matrix units %s are not used", (_, unusable) => {
    const { tiers, missing } = possibleTiers(unusable, "f16");
    expect(tiers[0].matmul).toBe("f16");
    expect(missing).toEqual([
      "its matrix units have no product of f16 factors that sums in f32, for subgroups of 32",
    ]);
  });
});
