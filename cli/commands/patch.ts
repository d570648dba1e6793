import { readFileSync } from "node:fs";
import { Command } from "commander";
import type { BlastRadius, TokenText } from "../../runtime/analysis/blast-radius.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { note } from "../../runtime/host/command.ts";
import { wrapFileErrors } from "../../runtime/host/files.ts";
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

/** Tokens of `--text` that are read. */
const TEXT_TOKENS = 4096;

export function patchCommand(): Command {
  const command = new Command("patch")
    .summary("Create and evaluate gene patches.")
    .description("Create a gene patch (an edit of tokens' recipes) and measure its side effects.")
    .argument("<checkpoint>", CHECKPOINT)
    .option("--expression <text>", 'recipe arithmetic: "a += 0.5 * (b - a); c -= d"')
    .option("--edits <json>", 'edits as JSON or a JSON file: [{"token":1234,"signal":17,"delta":0.4}]')
    .option(
      "--patch <files...>",
      "existing patches; all sources given are composed into one patch",
      (file, before: GenePatch[] = []) => [...before, readPatch(file)],
    )
    .option("--invert", "invert the patch, so that it undoes the edits")
    .option("--out <file>", "JSON file to write (replaced if it exists)")
    .option("--text <file>", "compare predictions on this text (default: the checkpoint's held-out.txt)")
    .option("--analogies <file>", "compare answers to these analogies (default: built-in)")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
A word stands for its token with a leading space; quoted text is literal if it
is a token. The first ${TEXT_TOKENS} tokens of --text are read. Analogies are in Google's
format: sections that begin with ": name", and four words per line.

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
    throw new ReflowError("usage", "no edits given", "give --expression, --edits or --patch");
  }
  if (out !== undefined) checkOutputFile(out);
  const [text, analogies] = [textFile, analogiesFile].map(
    (file) => file && wrapFileErrors(file, () => readFileSync(file, "utf8")),
  );
  using model = await loadModel(path, { device, precision, threads });
  const patch = await patchOf(model, flags);
  const ids = text === undefined ? undefined : model.tokenize(text).subarray(0, TEXT_TOKENS);
  if (ids?.length === 0)
    throw new ReflowError("data", `${textFile} is empty`, "give a text that is not empty");
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
  if (ids === undefined) note("give --text FILE to compare predictions as well");
}

/** Composes all sources, in the order --patch, --edits, --expression, into one patch. */
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

/** Entries of each list that are shown. */
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
    lines.push(...paragraph(label(token), [`before  ${near(token.before)}`, `after   ${near(token.after)}`]));
  }
  if (edited.count > SHOWN) lines.push("", `and ${number(edited.count - SHOWN)} more`);
  lines.push(
    ...paragraph(
      `The ${neighbours.top} nearest neighbours of ${number(neighbours.moved)} of ${number(neighbours.of)} other tokens changed`,
      neighbours.most.slice(0, SHOWN).map((token) => {
        const [gained, lost] = [token.gained, token.lost].map((each) => each.map(label).join(" "));
        return `${label(token)}  + ${gained}  − ${lost}`;
      }),
    ),
  );
  if (analogies) {
    const { asked, right, changed } = analogies;
    const head = `Analogies: ${number(right.before)} of ${number(asked)} correct before, ${number(right.after)} after`;
    lines.push(
      ...paragraph(
        `${head}; ${plural(changed.length, "answer")} changed`,
        changed.slice(0, SHOWN).map(({ question: [a, b, c], before, after }) => {
          return `${label(a)} : ${label(b)} = ${label(c)} : ${label(before)} → ${label(after)}`;
        }),
      ),
    );
  }
  if (divergence && ids) {
    const { positions, mean, worst } = divergence;
    const head = `Predictions at ${number(positions)} positions: mean KL divergence ${mean.toPrecision(3)} nats, largest after`;
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
