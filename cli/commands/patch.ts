import { readFileSync } from "node:fs";
import { Command } from "commander";
import type { BlastRadius, TokenText } from "../../runtime/analysis/blast-radius.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { note } from "../../runtime/host/command.ts";
import { asData } from "../../runtime/host/files.ts";
import type { Model } from "../../runtime/model/model.ts";
import type { LoadModelOptions } from "../../runtime/model/read.ts";
import {
  composePatches,
  encodePatch,
  type GenePatch,
  invertPatch,
  parsePatch,
} from "../../runtime/patches/patch.ts";
import { bytes, columnsOf, fold, number, printable, tokenLabel } from "../shared/format.ts";
import { CHECKPOINT, readJson, readPatch, withDevice } from "../shared/options.ts";
import { checkOutputFile } from "../shared/output.ts";

interface PatchFlags extends LoadModelOptions {
  expression?: string;
  edits?: string;
  patch?: GenePatch[];
  invert?: boolean;
  out?: string;
  text?: string;
  analogies?: string;
  json?: boolean;
}

/** Of the text, that many tokens are read. */
const TEXT_TOKENS = 4096;

export function patchCommand(): Command {
  const command = new Command("patch")
    .description("Make a gene patch, an edit of tokens' recipes, and see what else it changes.")
    .argument("<checkpoint>", CHECKPOINT)
    .option("--expression <text>", 'what to add to recipes: "a += 0.5 * (b - a); c -= d"')
    .option("--edits <json>", 'as JSON, or a file of it: [{"token":1234,"signal":17,"delta":0.4}]')
    .option(
      "--patch <files...>",
      "made before; several sources are composed",
      (file, before: GenePatch[] = []) => [...before, readPatch(file)],
    )
    .option("--invert", "the patch that undoes this")
    .option("--out <file>", "JSON to write, or to replace")
    .option("--text <file>", "compare predictions on this (the checkpoint's held-out.txt)")
    .option("--analogies <file>", "compare answers to these questions (built-in ones)")
    .option("--json", "one JSON object")
    .addHelpText(
      "after",
      `
A word stands for its token with a leading space; what is quoted is literal where
that is a token. Of --text the first ${TEXT_TOKENS} tokens are read. Analogies are in
Google's format: sections that begin with ": name", four words a line.

Example: bun run cli patch runs/tiny --expression "war += 0.6 * (peace - war)" \\
  --text book.txt --out patch.json
Then:    bun run cli sample runs/tiny --prompt "The" --patch patch.json`,
    )
    .action(makePatch);
  return withDevice(command);
}

async function makePatch(path: string, flags: PatchFlags): Promise<void> {
  const { heldOutOf } = await import("../../runtime/formats/checkpoint.ts");
  const {
    out,
    text: textFile = heldOutOf(path),
    analogies: analogiesFile,
    json,
    device,
    precision,
    threads,
  } = flags;
  const { discard, diskError, replaceDurably, temporary, writeDurably } = await import(
    "../../runtime/formats/disk.ts"
  );
  const { loadModel } = await import("../../runtime/model/load.ts");
  const { blastRadius } = await import("../../runtime/analysis/blast-radius.ts");
  const { readAnalogies } = await import("../../runtime/text/word-sets.ts");
  if (flags.expression === undefined && flags.edits === undefined && !flags.patch) {
    throw new ReflowError("usage", "what is to be edited?", "give --expression, --edits or --patch");
  }
  if (out !== undefined) checkOutputFile(out);
  const [text, analogies] = [textFile, analogiesFile].map(
    (file) => file && asData(file, () => readFileSync(file, "utf8")),
  );
  using model = await loadModel(path, { device, precision, threads });
  const patch = await patchOf(model, flags);
  const ids = text === undefined ? undefined : model.tokenize(text).subarray(0, TEXT_TOKENS);
  if (ids?.length === 0)
    throw new ReflowError("data", `${textFile} is empty`, "give a text with something in it");
  const rows = Math.min(model.tokenizer.vocabSize, model.config.vocab_size);
  const questions = readAnalogies(model.tokenizer, rows, analogies);
  const radius = await blastRadius(model, patch, { text: ids, analogies: questions });

  if (out !== undefined) {
    const draft = temporary(out);
    try {
      writeDurably(draft, new TextEncoder().encode(encodePatch(patch)));
      replaceDurably(draft, out);
    } catch (error) {
      discard(draft);
      throw diskError(error, out);
    }
  }
  if (json) {
    console.log(JSON.stringify({ out, patch: out === undefined ? patch : undefined, ...radius }));
    return;
  }
  console.log(report(model, radius, { out, ids }, columnsOf(process.stdout)).join("\n"));
  if (ids === undefined) note("give --text FILE to compare predictions too");
}

/** All that was asked for, one after the other, as one patch. */
async function patchOf(
  model: Model,
  { expression, edits, patch = [], invert }: PatchFlags,
): Promise<GenePatch> {
  const all = [...patch];
  if (edits !== undefined) {
    const json = readJson("--edits", edits, 'give a list: [{"token":1234,"signal":17,"delta":0.4}]');
    all.push(parsePatch({ model: model.checkpoint, edits: json }));
  }
  if (expression !== undefined) all.push(await model.createPatch(expression));
  const composed = composePatches(all[0], ...all.slice(1));
  return invert ? invertPatch(composed) : composed;
}

/** Of each list, so many are shown. */
const SHOWN = 5;

function report(
  { tokenizer }: Model,
  radius: BlastRadius,
  { out, ids }: { out?: string; ids?: Int32Array },
  columns: number,
): string[] {
  const { edited, edits, neighbours, divergence, analogies } = radius;
  const label = ({ id }: TokenText) => tokenLabel(tokenizer, id);
  const cut = (line: string) => (line.length > columns ? `${line.slice(0, columns - 1)}…` : line);
  const paragraph = (head: string, lines: readonly string[] = []) => [
    "",
    ...fold(head, columns),
    ...lines.map((line) => cut(`  ${line}`)),
  ];
  const plural = (n: number, what: string) => `${number(n)} ${what}${n === 1 ? "" : "s"}`;
  const near = (tokens: BlastRadius["edited"]["most"][number]["before"]) =>
    tokens.map((token) => `${label(token)} ${token.cosine.toFixed(2)}`).join("  ");
  const lines = fold(
    `${out ?? "not saved"}: ${plural(edits, "edit")} of ${plural(edited.count, "token")}, ${bytes(radius.bytes)}`,
    columns,
  );
  for (const token of edited.most.slice(0, SHOWN)) {
    lines.push(
      ...paragraph(label(token), [`was near  ${near(token.before)}`, `is near   ${near(token.after)}`]),
    );
  }
  if (edited.count > SHOWN) lines.push("", `and ${number(edited.count - SHOWN)} more`);
  lines.push(
    ...paragraph(
      `${number(neighbours.moved)} of ${number(neighbours.of)} other tokens have not the same nearest ${neighbours.top}`,
      neighbours.most.slice(0, SHOWN).map((token) => {
        const [gained, lost] = [token.gained, token.lost].map((each) => each.map(label).join(" "));
        return `${label(token)}  + ${gained}  − ${lost}`;
      }),
    ),
  );
  if (analogies) {
    const { asked, right, changed } = analogies;
    const head = `${number(right.before)} of ${number(asked)} analogies right before, ${number(right.after)} after`;
    lines.push(
      ...paragraph(
        `${head}; ${number(changed.length)} have another answer`,
        changed.slice(0, SHOWN).map(({ question: [a, b, c], before, after }) => {
          return `${label(a)} : ${label(b)} = ${label(c)} : ${label(before)} → ${label(after)}`;
        }),
      ),
    );
  }
  if (divergence && ids) {
    const { positions, mean, worst } = divergence;
    const head = `predictions after ${number(positions)} tokens: KL ${mean.toPrecision(3)} nats on average, most after`;
    lines.push(
      ...paragraph(
        head,
        worst.slice(0, SHOWN).map(({ position, kl }) => {
          const figure = kl.toPrecision(3).padEnd(10);
          const room = columns - figure.length - 3;
          const before = tokenizer.decode(ids.subarray(Math.max(0, position - 40), position + 1));
          return `${figure}…${printable(before.replace(/\s+/g, " ")).slice(1 - room)}`;
        }),
      ),
    );
  }
  return lines;
}
