import { expect, test } from "bun:test";
import {
  CLAIM_IDS,
  CLAIMS,
  EXPERIMENT_IDS,
  EXPERIMENTS,
  experimentOf,
  FAMILY,
  LEAST_DRAWS,
} from "../../../runtime/experiments/registry.ts";
import { holm } from "../../../runtime/math/statistics.ts";

test("ids are unique, and each experiment's claims are named after it", () => {
  expect(new Set(EXPERIMENT_IDS).size).toBe(EXPERIMENTS.length);
  for (const id of EXPERIMENT_IDS) {
    const { claims } = experimentOf(id);
    expect(Object.keys(claims).length).toBeGreaterThan(0);
    for (const claim of Object.keys(claims)) expect(claim).toStartWith(`${id}.`);
  }
});

test("the family is fixed: ids, order and sides of all claims", () => {
  expect(CLAIM_IDS.map((id) => `${id} ${CLAIMS[id].kind} ${CLAIMS[id].side}`)).toEqual([
    "atlas.similarity metric greater",
    "atlas.neighbours metric greater",
    "atlas.codebooks bound greater",
    "sparsity.active bound less",
    "sparsity.hoyer bound greater",
    "sparsity.kurtosis bound greater",
    "sparsity.gini bound less",
    "geometry.coherence metric greater",
    "galaxy.silhouette metric greater",
    "galaxy.plane metric greater",
    "algebra.recipe metric greater",
    "algebra.embedding free greater",
    "typo.recovery free less",
    "layers.depth free greater",
    "flow.concentration bound greater",
    "ablation.output bound greater",
    "steer.sentiment free greater",
    "inception.alpha free less",
    "genes.local free greater",
    "crystallization.boundary free greater",
    "hardtopk.cut bound greater",
    "certificate.seeds bound greater",
  ]);
  expect(FAMILY).toBe(CLAIM_IDS.length);
});

test("the required number of draws lets one claim alone hold, and one draw fewer does not", () => {
  expect(holm([1 / (LEAST_DRAWS + 1)], FAMILY)[0]).toBeLessThan(0.05);
  expect(holm([1 / LEAST_DRAWS], FAMILY)[0]).toBeCloseTo(0.05, 12);
});
