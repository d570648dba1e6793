import {
  type Answer,
  accuracy,
  answer,
  METHODS,
  type Method,
  permutedAnswers,
} from "../../analysis/analogies.ts";
import type { Matrix } from "../../math/matrix.ts";
import { cosines, largest, pick, rowOf } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import { clopperPearson, mean, wilson } from "../../math/statistics.ts";
import { type Analogy, type AnalogySection, leftOutNote } from "../../text/word-sets.ts";
import { ARM_DRAWS, metricArms, overArms } from "../framework/compared-tables.ts";
import type { Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import { claim } from "../framework/statistics.ts";

const ALL_METHODS = Object.keys(METHODS) as Method[];

/** Does vector arithmetic work? */
export const algebra: Probe = {
  id: "algebra",
  question: "Does vector arithmetic work?",
  inapplicable: ({ words }) =>
    words.analogies.length === 0 ? "no analogy is of single tokens only" : undefined,
  run,
};

async function run(context: ProbeContext): Promise<ProbeFindings> {
  const { model, words, draws, quick, progress } = context;
  const sections = someOf(words.analogies, quick ? 1500 : 6000, context);
  const questions = sections.flatMap(({ questions }) => questions);
  const factored = model.basis !== undefined;

  const inEmbedding = await answer(model.model, model.embedding, questions, ALL_METHODS);
  await progress(0.2);
  const inRecipes = factored ? await answer(model.model, model.recipe, questions, ALL_METHODS) : inEmbedding;
  await progress(0.4);
  const top1 = (answers: readonly Answer[]) => accuracy(answers).top1;
  const spaces = [
    ...(factored ? [{ id: "algebra.recipe" as const, space: "recipes", answers: inRecipes }] : []),
    { id: "algebra.embedding" as const, space: "embedding", answers: inEmbedding },
  ].map((each) => ({
    ...each,
    chance: permutedAnswers(sections, each.answers["3CosAdd"], draws.cheap, context.random(each.id)),
  }));
  await progress(0.5);

  const arms = metricArms(context, context.random("mixtures"), { mixtures: 3 });
  const permutations = context.random("answers of arms");
  // The first arms are answered already.
  const known: Record<string, number> = {};
  for (const { space, answers } of spaces) known[space] = top1(answers["3CosAdd"]);
  const more = await overArms(
    arms.filter(({ name }) => known[name] === undefined),
    async (table) => {
      const { "3CosAdd": answers } = await answer(model.model, table, questions, ["3CosAdd"]);
      await progress();
      const chance = permutedAnswers(sections, answers, ARM_DRAWS, permutations);
      return [top1(answers), mean(chance)];
    },
  );
  await progress(0.9);

  return {
    parameters: {
      questions: questions.length,
      sections: sections.length,
      candidates: model.recipe.rows,
      analogies: words.origin.analogies,
      draws: draws.cheap,
    },
    claims: spaces.map(({ id, answers, chance }) => {
      const share = top1(answers["3CosAdd"]);
      const right = Math.round(share * questions.length);
      const name = "answers permuted within sections";
      return claim(id, share, { name, values: chance }, wilson(right, questions.length));
    }),
    figures: [
      {
        type: "bars",
        title: "Analogies answered, by what is looked at",
        caption:
          `3CosAdd's first answer among ${model.recipe.rows} tokens, the question's own words left out, of ${questions.length} ` +
          "questions. Marked: answers permuted within sections. Bars with a range are 95% intervals, or several draws.",
        y: { label: "share right" },
        bars: [
          ...spaces.map(({ space, chance }) => {
            const [low, high] = wilson(Math.round(known[space] * questions.length), questions.length);
            return { name: space, value: known[space], low, high, null: mean(chance) };
          }),
          ...more,
        ],
      },
      methods(spaces, questions.length, model.recipe.rows),
      bySection(sections, spaces),
      await sources(context),
      ...spaces.map(({ space, answers, chance }) =>
        histogram(
          {
            title: `Answers permuted within sections, in ${space}`,
            caption: "The share that would be right had a section's pairs nothing to do with each other.",
          },
          { label: "share right" },
          chance,
          top1(answers["3CosAdd"]),
        ),
      ),
    ],
    notes: [
      leftOutNote(words, "analogies", "questions"),
      "Intervals are of independent questions; a section's share words, so that the truth is less certain than they say.",
    ],
  };
}

/** A part of the questions, chosen at random, where there are more. */
function someOf(
  sections: readonly AnalogySection[],
  most: number,
  { random }: ProbeContext,
): AnalogySection[] {
  const all = sections.flatMap(({ name, questions }) => questions.map((question) => ({ name, question })));
  const chosen = sample(all.length, most, random("questions")).map((i) => all[i]);
  return sections
    .map(({ name }) => ({
      name,
      questions: chosen.filter((each) => each.name === name).map(({ question }) => question),
    }))
    .filter(({ questions }) => questions.length > 0);
}

interface Space {
  space: string;
  answers: Record<Method, Answer[]>;
}

function methods(spaces: readonly Space[], questions: number, candidates: number): Figure {
  const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
  const rate = (share: number) => {
    const [low, high] = wilson(Math.round(share * questions), questions);
    return `${percent(share)} (${percent(low)} to ${percent(high)})`;
  };
  const row = ({ space, answers }: Space, method: Method, ofAll: boolean) => {
    const { top1, top5, mrr } = accuracy(answers[method], { ofAll });
    return [space, method, ofAll ? "yes" : "no", rate(top1), rate(top5), mrr];
  };
  return {
    type: "table",
    title: "Ways to answer",
    caption:
      "With their 95% intervals (Wilson). What the third word alone answers needs no analogy. Where a question's own words " +
      `are allowed, they mostly come first. A random token is right once in ${candidates}.`,
    columns: ["space", "method", "own words allowed", "first", "of the first five", "mean reciprocal rank"],
    rows: spaces.flatMap((space) =>
      ALL_METHODS.flatMap((method) => [row(space, method, false), row(space, method, true)]),
    ),
  };
}

function bySection(sections: readonly AnalogySection[], spaces: readonly Space[]): Figure {
  let at = 0;
  const rows = sections.map(({ name, questions }) => {
    const from = at;
    at += questions.length;
    const shares = spaces.map(({ answers }) => accuracy(answers["3CosAdd"].slice(from, at)).top1);
    return [name, questions.length, ...shares];
  });
  return {
    type: "table",
    title: "By section",
    caption: "The share of 3CosAdd's first answers that are right, the question's own words left out.",
    columns: ["section", "questions", ...spaces.map(({ space }) => space)],
    rows,
  };
}

/** The source's three, one by one. */
async function sources(context: ProbeContext): Promise<Figure> {
  const { model, words } = context;
  const spaces = [
    ...(model.basis ? [{ space: "recipes", table: model.recipe }] : []),
    { space: "embedding", table: model.embedding },
  ];
  const rows: string[][] = [];
  const counts: string[] = [];
  for (const { space, table } of spaces) {
    let right = 0;
    for (const question of words.sourceAnalogies) {
      const { sum, best, isRight } = await firstAnswers(context, table, question);
      if (isRight) right++;
      rows.push([space, sum, best]);
    }
    const of = words.sourceAnalogies.length;
    if (of === 0) continue;
    const low = (100 * clopperPearson(right, of)[0]).toFixed(0);
    counts.push(`${right} of ${of} in ${space} (a 95% lower bound of ${low}%)`);
  }
  return {
    type: "table",
    title: "The source's analogies",
    caption: `3CosAdd's first three answers, the question's own words left out. Right: ${counts.join("; ") || "none to ask"}.`,
    columns: ["space", "question", "answers"],
    rows,
  };
}

async function firstAnswers({ model }: ProbeContext, table: Matrix, [a, b, c, d]: Analogy) {
  const near = await cosines(model.model, pick(table, [a.id, b.id, c.id]), table);
  const [toA, toB, toC] = [0, 1, 2].map((i) => rowOf(near, i));
  const scores = toA.map((x, i) => METHODS["3CosAdd"](x, toB[i], toC[i]));
  for (const { id } of [a, b, c]) scores[id] = -Infinity;
  const best = largest(scores, 3);
  return {
    sum: `${b.text} − ${a.text} + ${c.text} = ${d.text}`,
    best: best.map((id) => model.model.tokenizer.tokenText(id).trim()).join(", "),
    isRight: best[0] === d.id,
  };
}
