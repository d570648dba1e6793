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
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import { comparedTables, measureTables, TABLE_DRAWS } from "../framework/compared-tables.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";

const ALL_METHODS = Object.keys(METHODS) as Method[];

const CLAIMS = {
  "algebra.recipe": {
    kind: "metric",
    statement:
      "Analogies are answered correctly in recipe space more often than with answers permuted among questions.",
    side: "greater",
  },
  "algebra.embedding": {
    kind: "free",
    statement:
      "Analogies are answered correctly in embedding space more often than with answers permuted among questions.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const algebra = {
  id: "algebra",
  question: "Does vector arithmetic work?",
  method:
    "“a is to b as c is to …”: the answer is the token nearest to b − a + c. It can be right even where c alone " +
    "suffices. The null therefore permutes answers among the questions of a section, and the third word alone is " +
    "tested as well.",
  reported: "3 of 3 analogies, with a 95% lower bound of 29%",
  claims: CLAIMS,
  inapplicable: ({ words }) =>
    words.analogies.length === 0 ? "no analogy is of single tokens only" : undefined,
  run,
} as const satisfies Experiment;

async function run(context: ExperimentContext): Promise<Findings> {
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
    nullValues: permutedAnswers(sections, each.answers["3CosAdd"], draws.cheap, context.random(each.id)),
  }));
  await progress(0.5);

  const compared = comparedTables(context, context.random("mixtures"), { mixtures: 3 });
  const permutations = context.random("answers of arms");
  // The first tables have been evaluated already.
  const known: Record<string, number> = {};
  for (const { space, answers } of spaces) known[space] = top1(answers["3CosAdd"]);
  const others = await measureTables(
    compared.filter(({ name }) => known[name] === undefined),
    async (table) => {
      const { "3CosAdd": answers } = await answer(model.model, table, questions, ["3CosAdd"]);
      await progress();
      const nullValues = permutedAnswers(sections, answers, TABLE_DRAWS, permutations);
      return [top1(answers), mean(nullValues)];
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
    claims: spaces.map(({ id, answers, nullValues }) => {
      const share = top1(answers["3CosAdd"]);
      const right = Math.round(share * questions.length);
      const name = "answers permuted within sections";
      return claim(CLAIMS, id, share, { name, values: nullValues }, wilson(right, questions.length));
    }),
    figures: [
      {
        type: "bars",
        title: "Analogies answered in each table",
        caption:
          `Accuracy of 3CosAdd's first answer among ${model.recipe.rows} tokens, excluding the words of the question, over ${questions.length} ` +
          "questions. Marked: answers permuted within sections. Ranges are 95% intervals, or several draws.",
        y: { label: "accuracy" },
        bars: [
          ...spaces.map(({ space, nullValues }) => {
            const [low, high] = wilson(Math.round(known[space] * questions.length), questions.length);
            return { name: space, value: known[space], low, high, null: mean(nullValues) };
          }),
          ...others,
        ],
      },
      methods(spaces, questions.length, model.recipe.rows),
      bySection(sections, spaces),
      await sources(context),
      ...spaces.map(({ space, answers, nullValues }) =>
        histogram(
          {
            title: `Answers permuted within sections, in ${space}`,
            caption:
              "Null distribution of the accuracy if the pairs of a section were unrelated, and observed value.",
          },
          { label: "accuracy" },
          nullValues,
          top1(answers["3CosAdd"]),
        ),
      ),
    ],
    notes: [
      leftOutNote(words, "analogies", "questions"),
      "Intervals assume independent questions. Questions of a section share words, so the true uncertainty is larger.",
    ],
  };
}

/** A random subset of the questions if there are more than `most`. */
function someOf(
  sections: readonly AnalogySection[],
  most: number,
  { random }: ExperimentContext,
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
  const percent = (fraction: number) => `${(100 * fraction).toFixed(1)}%`;
  const rate = (fraction: number) => {
    const [low, high] = wilson(Math.round(fraction * questions), questions);
    return `${percent(fraction)} (${percent(low)} to ${percent(high)})`;
  };
  const row = ({ space, answers }: Space, method: Method, ofAll: boolean) => {
    const { top1, top5, mrr } = accuracy(answers[method], { ofAll });
    return [space, method, ofAll ? "yes" : "no", rate(top1), rate(top5), mrr];
  };
  return {
    type: "table",
    title: "Answering methods",
    caption:
      "With 95% intervals (Wilson). Answers from the third word alone require no analogy. If the words of the question are " +
      `allowed as answers, they mostly come first. A random token is correct once in ${candidates}.`,
    columns: ["space", "method", "question words allowed", "top 1", "top 5", "mean reciprocal rank"],
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
    caption: "Accuracy of 3CosAdd's first answers, excluding the words of the question.",
    columns: ["section", "questions", ...spaces.map(({ space }) => space)],
    rows,
  };
}

/** The three analogies of the original work, one by one. */
async function sources(context: ExperimentContext): Promise<Figure> {
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
    counts.push(`${right} of ${of} in ${space} (95% lower bound ${low}%)`);
  }
  return {
    type: "table",
    title: "The source's analogies",
    caption: `3CosAdd's first three answers, excluding the words of the question. Correct: ${counts.join("; ") || "no question available"}.`,
    columns: ["space", "question", "answers"],
    rows,
  };
}

async function firstAnswers({ model }: ExperimentContext, table: Matrix, [a, b, c, d]: Analogy) {
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
