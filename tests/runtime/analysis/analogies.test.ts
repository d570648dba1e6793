import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { accuracy, answer, METHODS, permutedAnswers, rank } from "../../../runtime/analysis/analogies.ts";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import { matrix } from "../../../runtime/math/matrix.ts";
import { Random } from "../../../runtime/math/random.ts";
import type { Analogy } from "../../../runtime/text/word-sets.ts";
import { toyModel } from "../experiments/toy-model.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

const question = (...ids: number[]) =>
  ids.map((id) => ({ text: `w${id}`, id, count: 0 })) as unknown as Analogy;

describe("analogies", () => {
  test("scores match values computed by hand", () => {
    expect(METHODS["3CosAdd"](0.5, 0.25, 1)).toBe(0.75);
    // Cosines shifted to [0, 1]: .75 · .5 / (.625 + .001), times 2
    expect(METHODS["3CosMul"](0.25, 0.5, 0)).toBeCloseTo((2 * 0.75 * 0.5) / (0.625 + 0.001), 12);
    expect(METHODS["third word alone"](1, 1, 0.3)).toBe(0.3);
  });

  test("only rankOfAll includes the words of the question, and ties rank after the answer", () => {
    const scores = Float64Array.of(0.9, 0.8, 0.1, 0.5, 0.7, 0.5);
    expect(rank(scores, 3, [0, 1, 2])).toEqual({ best: 4, rank: 2, rankOfAll: 4 });
    expect(rank(scores, 4, [0, 0, 2])).toEqual({ best: 1, rank: 2, rankOfAll: 3 });
    expect(rank(scores, 0, [1, 2, 3])).toEqual({ best: 0, rank: 1, rankOfAll: 1 });
  });

  test("accuracy summarises ranks 1, 2 and 10", () => {
    const answers = [1, 2, 10].map((rank) => ({ best: 0, rank, rankOfAll: rank + 1 }));
    expect(accuracy(answers)).toEqual({ top1: 1 / 3, top5: 2 / 3, mrr: (1 + 1 / 2 + 1 / 10) / 3 });
    expect(accuracy(answers, { ofAll: true }).mrr).toBeCloseTo((1 / 2 + 1 / 3 + 1 / 11) / 3, 12);
  });

  test("an analogy over four axes is solved: man is to king as woman is to queen", async () => {
    const model = await toyModel(backend);
    // Axes: human, royal, female, other.
    const table = matrix(
      6,
      4,
      Float32Array.of(1, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0.1, 0, 1),
    );
    const [man, king, woman, queen] = [0, 1, 2, 3];
    const answers = await answer(
      model,
      table,
      [question(man, king, woman, queen), question(man, woman, king, queen)],
      ["3CosAdd", "3CosMul", "third word alone"],
    );
    for (const method of ["3CosAdd", "3CosMul"] as const) {
      expect(answers[method].map(({ best, rank }) => [best, rank])).toEqual([
        [queen, 1],
        [queen, 1],
      ]);
    }
    // Cosines with woman: woman 1, queen 2/√6 = .82, man and king less.
    expect(answers["third word alone"][0]).toEqual({ best: queen, rank: 1, rankOfAll: 2 });
  });

  test("permuted answers stay shared between questions and never equal one of a question's own words", () => {
    // Two pairs, 0→1 and 2→3: after the permutation, 0 1 2 ? would have the answer 1, one of its own words, so that the next one, 3, is used.
    const sections = [{ name: "s", questions: [question(0, 1, 2, 3), question(2, 3, 0, 1)] }];
    const right = [
      { best: 3, rank: 1, rankOfAll: 1 },
      { best: 1, rank: 1, rankOfAll: 1 },
    ];
    expect(new Set(permutedAnswers(sections, right, 20, new Random("p")))).toEqual(new Set([1]));

    // Six pairs with answers 10 to 15; every question is answered with 10, which is correct for one in six under any permutation.
    const questions = Array.from({ length: 6 }, (_, i) => question(20, 21, i, 10 + i));
    const same = questions.map(() => ({ best: 10, rank: 1, rankOfAll: 1 }));
    const hits = permutedAnswers([{ name: "s", questions }], same, 50, new Random("p"));
    expect(new Set(hits)).toEqual(new Set([1 / 6]));
  });
});
