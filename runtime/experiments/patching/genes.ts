import { blastRadius } from "../../analysis/blast-radius.ts";
import type { Matrix } from "../../math/matrix.ts";
import { rowOf } from "../../math/matrix.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { composePatches, type GenePatch, invertPatch } from "../../patches/patch.ts";
import { leftOutNote, type Word } from "../../text/word-sets.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import { visible } from "../passes/forward-passes.ts";
import {
  editKl,
  logprobsOf,
  type Paraphrase,
  patchEvaluator,
  patchOf,
  type RecipeEdit,
  randomSignalPatch,
  sizeMatched,
} from "./gene-effects.ts";
import {
  byStrength,
  frontier,
  localShares,
  nameOf,
  type Outcome,
  outcomesTable,
  type PairPatch,
  type PatchTrial,
  STRENGTH,
  singlesTable,
} from "./gene-figures.ts";
import { frequencyMatchedWords, textsOf, wordIds } from "./gene-texts.ts";

const STRENGTHS = [0.15, 0.3, 0.6, 1, 1.5, -0.6];

const CLAIMS = {
  "genes.local": {
    kind: "free",
    statement:
      "A gene patch changes related text more, relative to unrelated text, than random patches of the same norm.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const genes = {
  id: "genes",
  question: "What does editing R itself do?",
  method:
    "A gene patch edits rows of R, in both of their uses, and can be undone bit for bit. A good patch changes related " +
    "text, which says the same in other words, and leaves other text alone. Null: patches of the same size to random " +
    "tokens of similar frequency.",
  reported: "that the sentiment flips while the grammar holds",
  claims: CLAIMS,
  inapplicable: ({ model: { model, basis }, words }) => {
    if (!basis) return "an unfactored model has no recipes to edit";
    if (model.config.top_k)
      return "the top-k entries of an edited recipe depend on values that were discarded";
    if (!model.checkpoint)
      return "a patch identifies its model by a checksum, and the checksum of these weights is unknown";
    if (words.sentiment.length < 4)
      return "fewer than four pairs of positive and negative words are single tokens";
    return undefined;
  },
  run,
} as const satisfies Experiment;

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, words, draws, quick, progress } = context;
  const { model: lm } = model;
  // Half of the pairs are edited and the other half is measured, as in `steer`.
  const edited = words.sentiment.filter((_, i) => i % 2 === 0);
  const measured = words.sentiment.filter((_, i) => i % 2 === 1);
  const texts = textsOf(context, edited, measured);
  const { bases, related, unrelated } = texts;
  const parameters = { pairs: edited.length, measuredPairs: measured.length, strength: STRENGTH };
  const left = leftOutNote(words, "sentiment", "pairs of positive and negative words");
  const random = context.random("draws");
  const matches = frequencyMatchedWords(context, edited, [
    ...related,
    ...unrelated,
    ...measured.map(wordIds),
  ]);
  if (bases.length === 0 || unrelated.length === 0 || !matches) {
    const note = "The text is too short, or contains too many of the model's words, for random patches.";
    return { parameters, claims: [], figures: [], notes: [left, note] };
  }

  // ---- formula: the change on text without edited words
  const recipeEdits = edited.map(
    ({ negative, positive }): RecipeEdit => ({
      token: negative.id,
      towards: positive.id,
      strength: STRENGTH,
    }),
  );
  const tokens = [...matches.pool, ...edited.flatMap(wordIds)];
  const column = new Map(tokens.map((id, i) => [id, i]));
  const before = {
    related: await logprobsOf(context, related, tokens, { everywhere: false }),
    unrelated: await logprobsOf(context, unrelated, tokens, { everywhere: true }),
  };
  await progress(0.1);
  const klOf = (some: readonly RecipeEdit[]) => {
    const kl = (table: Matrix) =>
      Array.from({ length: table.rows }, (_, i) => editKl(rowOf(table, i), some, column));
    return { related: kl(before.related), unrelated: kl(before.unrelated) };
  };
  const own = klOf(recipeEdits);
  const onUnrelated = mean(own.unrelated);
  const observed = localShare(mean(own.related), onUnrelated);
  const values = new Float64Array(draws.cheap);
  const nullShares = new Float64Array(edited.length);
  for (let draw = 0; draw < values.length; draw++) {
    const others = matches.draw(random).map((other, i) => sizeMatched(model, recipeEdits[i], other));
    const { related, unrelated } = klOf(others);
    values[draw] = localShare(mean(related), mean(unrelated));
    const one = draw % edited.length;
    const alone = klOf([others[one]]);
    const drawsOfIt = Math.ceil((values.length - one) / edited.length);
    nullShares[one] += localShare(mean(alone.related), mean(alone.unrelated)) / drawsOfIt;
    await progress(0.1 + (0.3 * (draw + 1)) / values.length);
  }
  const interval = bootstrap(
    own.related,
    (some) => localShare(mean(some), onUnrelated),
    context.random("interval"),
  );

  // ---- forward passes: the change on text with edited words
  const paraphrases = edited.flatMap(({ negative, positive }, pair) =>
    bases.map((ids): Paraphrase => {
      const say = ({ id }: Word) => [...ids, id, ...(texts.and ? [texts.and.id] : [])];
      return { pair, ids: say(negative), twin: say(positive) };
    }),
  );
  const evaluate = await patchEvaluator(context, {
    paraphrases,
    unrelated: unrelated.slice(0, quick ? 6 : 16),
    measured,
  });
  await progress(0.45);
  const trials: PatchTrial[] = [
    ...STRENGTHS.map((strength): PatchTrial => {
      const name = strength < 0 ? "opposite sign" : "patch";
      return {
        name,
        strength,
        patch: patchOf(
          model,
          recipeEdits.map((edit) => ({ ...edit, strength })),
        ),
      };
    }),
  ];
  for (let draw = 0; draw < (quick ? 5 : 20); draw++) {
    const others = matches.draw(random).map(({ towards }, i) => ({ token: recipeEdits[i].token, towards }));
    const elsewhere = others.map((other, i) => sizeMatched(model, recipeEdits[i], other));
    trials.push({ name: "random words", strength: STRENGTH, patch: patchOf(model, elsewhere) });
    trials.push({
      name: "random signals",
      strength: STRENGTH,
      patch: await randomSignalPatch(model, recipeEdits, random),
    });
  }
  const outcomes: Outcome[] = [];
  for (const [i, { patch, ...trial }] of trials.entries()) {
    outcomes.push({ ...trial, ...(await evaluate(patch)) });
    await progress(0.45 + (0.35 * (i + 1)) / trials.length);
  }
  const singles: PairPatch[] = [];
  for (const [pair, { negative, positive }] of edited.entries()) {
    const patch = await lm.createPatch(
      `" ${negative.text}" += ${STRENGTH} * (" ${positive.text}" - " ${negative.text}")`,
    );
    const alone = klOf([recipeEdits[pair]]);
    singles.push({
      pair: edited[pair],
      patch,
      effect: await evaluate(patch, pair),
      local: localShare(mean(alone.related), mean(alone.unrelated)),
      nullShare: nullShares[pair],
      undone: await isUndone(context, patch, paraphrases[pair * bases.length].ids),
    });
    await progress(0.8 + (0.1 * (pair + 1)) / edited.length);
  }
  const effects = await sideEffects(context, singles[0]);
  const written = await sideBySide(context, bases, singles[0], texts.and);
  await progress(1);
  return {
    parameters: {
      ...parameters,
      related: related.length,
      unrelatedPositions: own.unrelated.length,
      paraphrases: paraphrases.length,
      randomTokens: matches.pool.length,
      undone: singles.every(({ undone }) => undone),
      draws: values.length,
    },
    claims: [
      claim(
        CLAIMS,
        "genes.local",
        observed,
        { name: "patches of the same size to random tokens of similar frequency", values },
        interval,
      ),
    ],
    figures: [
      frontier(outcomes),
      byStrength(outcomes),
      localShares(singles),
      singlesTable(singles),
      outcomesTable(outcomes),
      written,
      effects,
      histogram(
        {
          title: "Share of the change on related text, random patches",
          caption:
            "Share of the change (KL of predictions) that falls on related text: null from patches of the same size to random tokens, and " +
            "observed value. It is .5 if both kinds of text change equally.",
        },
        { label: "share on related text" },
        values,
        observed,
      ),
    ],
    notes: [
      left,
      `The patch is ${edited.map(({ negative, positive }) => `${negative.text} += ${STRENGTH} · (${positive.text} − ${negative.text})`).join(", ")}. Related text expresses sentiment in other words; neither it nor unrelated text contains an edited word.`,
      "Any edit of a word changes texts that contain it, even at initialisation. The claim is therefore about texts without edited words, where only the logits of the edited words change. Effects on the other texts are shown beside those of random words and signals, and nothing is claimed about them.",
      "Sizes of edits are matched in the embedding, ‖δ·B‖. Patches are overlays that never modify the weights. Undone means that recipes and logits are bit-identical to the originals once a patch is composed with its inverse.",
    ],
  };
}

/** Share of a change that falls on related text: .5 if both kinds of text change equally, or not at all. */
export const localShare = (related: number, unrelated: number): number =>
  related + unrelated === 0 ? 0.5 : related / (related + unrelated);

// ---- undoing ----------------------------------------------------------------------------------------------

/** Whether recipes and logits are bit-identical to the originals under a patch composed with its inverse. */
async function isUndone(
  { model: { model } }: ExperimentContext,
  patch: GenePatch,
  ids: ArrayLike<number>,
): Promise<boolean> {
  const sequence = Int32Array.from(ids);
  const undone = { patch: composePatches(patch, invertPatch(patch)) };
  const [logits, recipes] = [await model.forward(sequence), (await model.tables()).recipe];
  await model.forward(sequence, { patch });
  const [again, same] = [await model.forward(sequence, undone), (await model.tables(undone)).recipe];
  return isSame(logits.data, again.data) && isSame(recipes.data, same.data);
}

const isSame = (a: Float32Array, b: Float32Array): boolean => a.every((x, i) => Object.is(x, b[i]));

/** Tokens generated per example. */
const SHOWN_TOKENS = 16;

async function sideBySide(
  { model: { model }, progress }: ExperimentContext,
  bases: readonly number[][],
  { pair, patch }: PairPatch,
  and: Word | undefined,
): Promise<Figure> {
  const prompts = bases.slice(0, 4).map((ids) => [...ids, pair.negative.id, ...(and ? [and.id] : [])]);
  const texts: string[][] = [];
  for (const options of [{}, { patch }]) {
    const written = prompts.map(() => "");
    const generated = model.generate(prompts, { maxTokens: SHOWN_TOKENS, temperature: 0, ...options });
    for await (const event of generated) {
      written[event.index] += event.text;
      await progress();
    }
    texts.push(written);
  }
  return {
    type: "table",
    title: "Default and patched, side by side",
    caption: `Greedy continuations of the unpatched model, and with ${nameOf(pair)}.`,
    columns: ["prompt", "default", "patched"],
    rows: prompts.map((ids, i) =>
      [model.tokenizer.decode(ids), ...texts.map((written) => written[i])].map(visible),
    ),
  };
}

/** Side effects of one patch in recipe space. */
async function sideEffects({ model, words }: ExperimentContext, { pair, patch }: PairPatch): Promise<Figure> {
  const questions = words.analogies.flatMap(({ questions }) => questions);
  const { edited, neighbours, analogies } = await blastRadius(model.model, patch, { analogies: questions });
  const near = (some: readonly { text: string; cosine: number }[]) =>
    some
      .slice(0, 5)
      .map(({ text, cosine }) => `${visible(text)} ${cosine.toFixed(2)}`)
      .join(",");
  const [{ before, after }] = edited.most;
  return {
    type: "table",
    title: "Side effects of the patch",
    caption: `For ${nameOf(pair)}, in recipe space: the nearest neighbours of the edited word before and after, and the number of other tokens for which an edited word became or ceased to be one of the nearest.`,
    columns: ["", "before", "after"],
    rows: [
      [`nearest to ${pair.negative.text}`, near(before), near(after)],
      [`tokens with a changed top ${neighbours.top}`, "", `${neighbours.moved} of ${neighbours.of}`],
      ...(analogies
        ? [
            [`correct analogies, of ${analogies.asked}`, analogies.right.before, analogies.right.after],
            ["analogies with a changed answer", "", analogies.changed.length],
          ]
        : []),
    ],
  };
}
