import { blastRadius } from "../../analysis/blast-radius.ts";
import type { Matrix } from "../../math/matrix.ts";
import { rowOf } from "../../math/matrix.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { composePatches, encodePatch, type GenePatch, invertPatch } from "../../patches/patch.ts";
import { leftOutNote, type Word } from "../../text/word-sets.ts";
import type { Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import { claim } from "../framework/statistics.ts";
import { visible } from "../passes/forward-passes.ts";
import type { Pair } from "../passes/sentiment.ts";
import {
  type Effect,
  logprobsOf,
  type Move,
  matched,
  movedKl,
  type Paraphrase,
  patchOf,
  patchReader,
  randomSignals,
} from "./gene-effects.ts";
import { alikeIn, textsOf, wordIds } from "./gene-texts.ts";

/** bad += STRENGTH · (good − bad) */
const STRENGTH = 0.6;
const STRENGTHS = [0.15, 0.3, 0.6, 1, 1.5, -0.6];

/** What does editing R itself do? */
export const genes: Probe = {
  id: "genes",
  question: "What does editing R itself do?",
  inapplicable: ({ model: { model, basis }, words }) => {
    if (!basis) return "an unfactored model has no recipes to edit";
    if (model.config.top_k) return "what top-k keeps of an edited recipe depends on values that it left out";
    if (!model.checkpoint)
      return "a patch names its model, and it isn't known from which weights this one was made";
    if (words.sentiment.length < 4) return "fewer than four pairs of good and bad words are of single tokens";
    return undefined;
  },
  run,
};

async function run(context: ProbeContext): Promise<ProbeFindings> {
  const { model, words, draws, quick, progress } = context;
  const { model: lm } = model;
  // Half of the pairs are edited and the others are looked at, as in `steer`.
  const edited = words.sentiment.filter((_, i) => i % 2 === 0);
  const measured = words.sentiment.filter((_, i) => i % 2 === 1);
  const texts = textsOf(context, edited, measured);
  const { bases, related, unrelated } = texts;
  const parameters = { pairs: edited.length, measuredPairs: measured.length, strength: STRENGTH };
  const left = leftOutNote(words, "sentiment", "pairs of good and bad words");
  const random = context.random("draws");
  const like = alikeIn(context, edited, [...related, ...unrelated, ...measured.map(wordIds)]);
  if (bases.length === 0 || unrelated.length === 0 || !like) {
    const note = "The text is too short, or has too many of the model's words, for random patches.";
    return { parameters, claims: [], figures: [], notes: [left, note] };
  }

  // ---- where the change falls
  const moves = edited.map(
    ({ negative, positive }): Move => ({ token: negative.id, towards: positive.id, by: STRENGTH }),
  );
  const tokens = [...like.pool, ...edited.flatMap(wordIds)];
  const place = new Map(tokens.map((id, i) => [id, i]));
  const before = {
    related: await logprobsOf(context, related, tokens, { everywhere: false }),
    unrelated: await logprobsOf(context, unrelated, tokens, { everywhere: true }),
  };
  await progress(0.1);
  const fall = (some: readonly Move[]) => {
    const kl = (table: Matrix) =>
      Array.from({ length: table.rows }, (_, i) => movedKl(rowOf(table, i), some, place));
    return { related: kl(before.related), unrelated: kl(before.unrelated) };
  };
  const own = fall(moves);
  const onUnrelated = mean(own.unrelated);
  const observed = localShare(mean(own.related), onUnrelated);
  const values = new Float64Array(draws.cheap);
  const chances = new Float64Array(edited.length);
  for (let draw = 0; draw < values.length; draw++) {
    const others = like.drawn(random).map((other, i) => matched(model, moves[i], other));
    const { related, unrelated } = fall(others);
    values[draw] = localShare(mean(related), mean(unrelated));
    const one = draw % edited.length;
    const alone = fall([others[one]]);
    const drawsOfIt = Math.ceil((values.length - one) / edited.length);
    chances[one] += localShare(mean(alone.related), mean(alone.unrelated)) / drawsOfIt;
    await progress(0.1 + (0.3 * (draw + 1)) / values.length);
  }
  const interval = bootstrap(
    own.related,
    (some) => localShare(mean(some), onUnrelated),
    context.random("interval"),
  );

  // ---- what it does where the edited words are read
  const paraphrases = edited.flatMap(({ negative, positive }, pair) =>
    bases.map((ids): Paraphrase => {
      const say = ({ id }: Word) => [...ids, id, ...(texts.and ? [texts.and.id] : [])];
      return { pair, ids: say(negative), twin: say(positive) };
    }),
  );
  const read = await patchReader(context, {
    paraphrases,
    unrelated: unrelated.slice(0, quick ? 6 : 16),
    measured,
  });
  await progress(0.45);
  const arms: Arm[] = [
    ...STRENGTHS.map((by): Arm => {
      const name = by < 0 ? "opposite sign" : "patch";
      return {
        name,
        by,
        patch: patchOf(
          model,
          moves.map((move) => ({ ...move, by })),
        ),
      };
    }),
  ];
  for (let draw = 0; draw < (quick ? 5 : 20); draw++) {
    const others = like.drawn(random).map(({ towards }, i) => ({ token: moves[i].token, towards }));
    const elsewhere = others.map((other, i) => matched(model, moves[i], other));
    arms.push({ name: "random words", by: STRENGTH, patch: patchOf(model, elsewhere) });
    arms.push({ name: "random signals", by: STRENGTH, patch: await randomSignals(model, moves, random) });
  }
  const outcomes: Outcome[] = [];
  for (const [i, { patch, ...arm }] of arms.entries()) {
    outcomes.push({ ...arm, ...(await read(patch)) });
    await progress(0.45 + (0.35 * (i + 1)) / arms.length);
  }
  const singles: Single[] = [];
  for (const [pair, { negative, positive }] of edited.entries()) {
    const patch = await lm.createPatch(
      `" ${negative.text}" += ${STRENGTH} * (" ${positive.text}" - " ${negative.text}")`,
    );
    const alone = fall([moves[pair]]);
    singles.push({
      pair: edited[pair],
      patch,
      effect: await read(patch, pair),
      local: localShare(mean(alone.related), mean(alone.unrelated)),
      chance: chances[pair],
      undone: await isUndone(context, patch, paraphrases[pair * bases.length].ids),
    });
    await progress(0.8 + (0.1 * (pair + 1)) / edited.length);
  }
  const others = await elsewhere(context, singles[0]);
  const written = await sideBySide(context, bases, singles[0], texts.and);
  await progress(1);
  return {
    parameters: {
      ...parameters,
      related: related.length,
      unrelatedPositions: own.unrelated.length,
      paraphrases: paraphrases.length,
      randomTokens: like.pool.length,
      undone: singles.every(({ undone }) => undone),
      draws: values.length,
    },
    claims: [
      claim(
        "genes.local",
        observed,
        { name: "patches of the same size to random tokens about as frequent", values },
        interval,
      ),
    ],
    figures: [
      frontier(outcomes),
      byStrength(outcomes),
      whereItFalls(singles),
      singlesTable(singles),
      outcomesTable(outcomes),
      written,
      others,
      histogram(
        {
          title: "Where the change of random patches falls",
          caption:
            "The part of the change (KL of a prediction) that falls on related text, of random tokens' patches of the same size, and as " +
            "observed. Where both kinds of text change alike it is .5.",
        },
        { label: "part on related text" },
        values,
        observed,
      ),
    ],
    notes: [
      left,
      `The patch is ${edited.map(({ negative, positive }) => `${negative.text} += ${STRENGTH} · (${positive.text} − ${negative.text})`).join(", ")}. Related text says something good or bad in other words; it has none of the edited ones, nor has unrelated text.`,
      "A text that has an edited word is changed by any edit of that word, at initialisation too. So the claim is of texts that have none, where it is the edited words' own logits that change; what becomes of the others is shown beside random words and signals, and nothing is claimed of it.",
      "Sizes of edits are matched in the embedding, ‖δ·B‖. Patches are laid over the weights, which nobody writes: undone means that recipes and logits are as before to the last bit once a patch is composed with its inverse.",
    ],
  };
}

/** A patch that is tried, and what came of it. */
interface Arm {
  name: string;
  by: number;
  patch: GenePatch;
}

type Outcome = Omit<Arm, "patch"> & Effect;

/** One pair's own patch. */
interface Single {
  pair: Pair;
  patch: GenePatch;
  effect: Effect;
  local: number;
  chance: number;
  undone: boolean;
}

/** The part of a change that falls on related text: .5 where both kinds of text change alike, or not at all. */
export const localShare = (related: number, unrelated: number): number =>
  related + unrelated === 0 ? 0.5 : related / (related + unrelated);

// ---- undoing ----------------------------------------------------------------------------------------------

/** Whether a patch and its inverse leave recipes and logits as they were, to the last bit. */
async function isUndone(
  { model: { model } }: ProbeContext,
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

// ---- figures ----------------------------------------------------------------------------------------------

function frontier(outcomes: readonly Outcome[]): Figure {
  return {
    type: "scatter",
    title: "What a patch changes, and what else",
    caption:
      "All edits together, by strength. Up: how far paraphrases that have an edited word move towards good words, by pairs that are " +
      "not edited. Across: how much predictions of unrelated text change. Random words in the place of the good ones, and random " +
      "signals, are chance.",
    x: { label: "KL on unrelated text", unit: "nats" },
    y: { label: "shift of sentiment", unit: "nats" },
    points: outcomes.map(({ name, by, shift, unrelated }) => ({
      x: unrelated,
      y: shift,
      group: name,
      ...((name === "patch" || name === "opposite sign") && { label: String(by) }),
    })),
  };
}

function byStrength(outcomes: readonly Outcome[]): Figure {
  const patches = outcomes.filter(({ name }) => name === "patch");
  const x = patches.map(({ by }) => by);
  return {
    type: "lines",
    title: "How much predictions change, by strength",
    caption:
      "KL of the patched model's predictions from the model's own: after paraphrases that have an edited word, and in text that has none.",
    x: { label: "strength" },
    y: { label: "KL", unit: "nats", log: true },
    series: [
      { name: "paraphrases", x, y: patches.map(({ paraphrases }) => paraphrases) },
      { name: "unrelated text", x, y: patches.map(({ unrelated }) => unrelated) },
    ],
  };
}

const nameOf = ({ negative, positive }: Pair): string => `${negative.text} → ${positive.text}`;

function whereItFalls(singles: readonly Single[]): Figure {
  return {
    type: "bars",
    title: "Where the change falls",
    caption:
      "Of each pair's own patch: the part of the change (KL of a prediction) that falls on related text, neither kind of text having an " +
      "edited word. Marked: random tokens' patches of the same size. Where both kinds of text change alike it is .5.",
    y: { label: "part on related text" },
    bars: singles.map(({ pair, local, chance }) => ({ name: nameOf(pair), value: local, null: chance })),
  };
}

function singlesTable(singles: readonly Single[]): Figure {
  return {
    type: "table",
    title: "Patches of one word",
    caption: `With strength ${STRENGTH}. Paraphrases have the edited word; unrelated text hasn't. Flipped are paraphrases after which good words are more than half of the way, against bad ones, to how likely they are after the good word itself.`,
    columns: [
      "patch",
      "bytes",
      "edits",
      "KL, paraphrases",
      "KL, unrelated",
      "shift (nats)",
      "flipped",
      "undone to the bit",
    ],
    rows: singles.map(({ pair, patch, effect, undone }) => [
      nameOf(pair),
      new TextEncoder().encode(encodePatch(patch)).length,
      patch.edits.length,
      effect.paraphrases,
      effect.unrelated,
      effect.shift,
      effect.flipped,
      undone ? "yes" : "no",
    ]),
  };
}

function outcomesTable(outcomes: readonly Outcome[]): Figure {
  const alike = Map.groupBy(outcomes, ({ name, by }) => `${name} ${by}`);
  return {
    type: "table",
    title: "All edits together",
    caption:
      "Random words stand in the place of the good ones; random signals are of the same size. Both are means over draws.",
    columns: ["edit", "strength", "KL, paraphrases", "KL, unrelated", "shift (nats)", "flipped", "draws"],
    rows: [...alike.values()].map((some) => {
      const over = (figure: keyof Effect) => mean(some.map((each) => each[figure]));
      const [{ name, by }] = some;
      const draws = name.startsWith("random") ? some.length : "";
      return [name, by, over("paraphrases"), over("unrelated"), over("shift"), over("flipped"), draws];
    }),
  };
}

/** Tokens that are generated for the eye. */
const SHOWN_TOKENS = 16;

async function sideBySide(
  { model: { model }, progress }: ProbeContext,
  bases: readonly number[][],
  { pair, patch }: Single,
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
    caption: `The likeliest continuations, as the model goes on, and with ${nameOf(pair)}.`,
    columns: ["prompt", "default", "patched"],
    rows: prompts.map((ids, i) =>
      [model.tokenizer.decode(ids), ...texts.map((written) => written[i])].map(visible),
    ),
  };
}

/** What else one patch moves. */
async function elsewhere({ model, words }: ProbeContext, { pair, patch }: Single): Promise<Figure> {
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
    title: "What else the patch moves",
    caption: `Of ${nameOf(pair)}, in recipe space: the edited word's nearest before and after, and how many others have an edited word among their nearest who hadn't, or the other way round.`,
    columns: ["", "before", "after"],
    rows: [
      [`nearest to ${pair.negative.text}`, near(before), near(after)],
      [`tokens with other nearest ${neighbours.top}`, "", `${neighbours.moved} of ${neighbours.of}`],
      ...(analogies
        ? [
            [`analogies right, of ${analogies.asked}`, analogies.right.before, analogies.right.after],
            ["analogies with another answer", "", analogies.changed.length],
          ]
        : []),
    ],
  };
}
