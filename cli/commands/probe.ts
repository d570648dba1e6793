import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Presets, SingleBar } from "cli-progress";
import { Argument, Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import { parameterCount } from "../../runtime/config/parameter-specs.ts";
import { EXPERIMENT_IDS } from "../../runtime/experiments/registry.ts";
import type { SuiteModel } from "../../runtime/experiments/suite.ts";
import { note, number } from "../../runtime/host/command.ts";
import { wrapFileErrors } from "../../runtime/host/files.ts";
import type { Model } from "../../runtime/model/model.ts";
import type { LoadModelOptions } from "../../runtime/model/read.ts";
import type { EvaluationSets } from "../../runtime/text/word-sets.ts";
import type { ComparedRun } from "../report/comparison.ts";
import { pText, short } from "../report/markup/numbers.ts";
import { RESULTS, type Results } from "../report/results.ts";
import { encodeDocuments, evaluationFiles } from "../shared/documents.ts";
import { CHECKPOINT, oneOf, withDevice } from "../shared/options.ts";

interface ProbeFlags extends LoadModelOptions {
  out?: string;
  twin?: string;
  topk?: string;
  seeds?: string[];
  text?: string;
  eval?: string;
  seed?: number;
  quick?: boolean;
  compare?: string[];
  json?: boolean;
}

export function probeCommand(): Command {
  const names = [...EXPERIMENT_IDS, "all"];
  const name = oneOf(names);
  const ids = new Argument(
    "[ids...]",
    `experiments to run (default: all): ${EXPERIMENT_IDS.join(", ")}`,
  ).argParser((id: string, before: string[] = []) => [...before, name(id)]);
  const command = new Command("probe")
    .summary("Run interpretability experiments.")
    .description(
      "Run interpretability experiments on a model, with controls that tell structure from chance, and write " +
        "results.json and report.html.",
    )
    .argument("[checkpoint]", CHECKPOINT)
    .addArgument(ids)
    .option("--out <folder>", "output folder (default: probes, beside the checkpoint)")
    .option("--twin <checkpoint>", "control model: a gpt2-new of the same size, trained on the same tokens")
    .option("--topk <checkpoint>", "a trained reflow-topk to compare with")
    .option(
      "--seeds <checkpoints...>",
      "the same model trained from other seeds, to match signals across seeds",
    )
    .option(
      "--text <path>",
      "held-out text file, JSONL file, folder of .txt files, or - for stdin (default: the checkpoint's, otherwise the default corpus's)",
    )
    .option(
      "--eval <folder>",
      `folder with evaluation sets: ${Object.values(SETS).join(", ")} (default: built-in words)`,
    )
    .option("--seed <n>", "random seed of all draws (default: 1)", number)
    .option("--quick", "use fewer prompts, positions and words")
    .option("--compare <results...>", "compare two results.json files, or the folders that hold them")
    .option("--json", "print results.json on one line")
    .addHelpText(
      "after",
      `
Examples: bun run cli probe runs/tiny --quick
          bun run cli probe runs/nano galaxy algebra --twin runs/nano-twin
          bun run cli probe --compare runs/a/probes runs/b/probes`,
    )
    .action(probe);
  return withDevice(command);
}

async function probe(path: string | undefined, ids: string[] = [], flags: ProbeFlags): Promise<void> {
  if (flags.compare) return compare(path, flags.compare, flags);
  if (path === undefined) {
    throw new ReflowError(
      "usage",
      "no model given",
      "give a checkpoint folder, or --compare with two results",
    );
  }
  const { resolveCheckpoint } = await import("../../runtime/formats/checkpoint.ts");
  const { checkOutputFolder, writeFiles } = await import("../shared/output.ts");
  const { encodeResults, REPORT } = await import("../report/results.ts");
  const { renderReport } = await import("../report/report.ts");
  const folder = resolveCheckpoint(path);
  const { out = join(dirname(folder), "probes"), json } = flags;
  checkOutputFolder(out);
  const results = await runExperiments(folder, ids.includes("all") ? [] : ids, flags);
  writeFiles(out, { [RESULTS]: encodeResults(results), [REPORT]: renderReport(results) });
  console.log(json ? JSON.stringify(results) : layOut(results, join(out, REPORT)));
}

async function runExperiments(folder: string, ids: readonly string[], flags: ProbeFlags): Promise<Results> {
  const { runSuite } = await import("../../runtime/experiments/suite.ts");
  const { withBar } = await import("../../trainer/monitoring/display.ts");
  const { readDocuments } = await import("../../trainer/data/documents.ts");
  const { seed, quick, device, precision, threads, text } = flags;
  const sets = flags.eval === undefined ? undefined : readSets(flags.eval);
  const models: Model[] = [];
  const open = async (path: string) => {
    const opened = await openModel(path, { device, precision, threads });
    models.push(opened.model);
    return opened;
  };
  const openIfAny = async (path: string | undefined) => (path === undefined ? undefined : open(path));
  const progress = new Progress();
  try {
    const own = await open(folder);
    const { model } = own;
    const files = await withBar((onProgress) =>
      evaluationFiles(text, folder, (done, of) => onProgress("download", done, of)),
    );
    const { ids: tokens } = encodeDocuments(model.tokenizer, readDocuments(files));
    checkLength(tokens.length, model.config.context);
    const [twin, topk] = [await openIfAny(flags.twin), await openIfAny(flags.topk)];
    const seeds: SuiteModel[] = [];
    for (const path of flags.seeds ?? []) seeds.push(await open(path));
    const suite = await runSuite({
      ...own,
      twin,
      topk,
      seeds,
      text: tokens,
      sets,
      ids: ids.length > 0 ? ids : undefined,
      seed,
      quick,
      onProgress: (at, done) => progress.show(at, done),
    });
    return {
      model: { ...model.config, parameters: parameterCount(model.config) },
      trained: own.trained,
      beside: {
        twin: twin?.model.checkpoint,
        topk: topk?.model.checkpoint,
        seeds: seeds.map(({ model }) => model.checkpoint!),
      },
      text: { tokens: tokens.length },
      ...suite,
    };
  } finally {
    progress.stop();
    for (const model of models) model.dispose();
  }
}

/** The fields of trainer.json, the trainer's state beside the weights, that are used here. All may be absent. */
interface Trained {
  position?: { step?: number };
  trajectory?: {
    seed: number;
    basisInit: "orthogonal" | "normal";
    init?: string;
    batch: number;
    accumulate: number;
    world?: number;
  };
}

async function openModel(path: string, on: LoadModelOptions): Promise<SuiteModel & Pick<Results, "trained">> {
  const { openWeights, loadModel } = await import("../../runtime/model/load.ts");
  const { resolveCheckpoint } = await import("../../runtime/formats/checkpoint.ts");
  const folder = resolveCheckpoint(path);
  const opened = openWeights(folder);
  let trained: Trained;
  try {
    trained = (opened.readJson("trainer.json") ?? {}) as Trained;
  } finally {
    opened.close();
  }
  const { position, trajectory } = trained;
  const model = await loadModel(folder, on);
  const steps = position?.step;
  const { batch = 0, accumulate = 0, world = 1 } = trajectory ?? {};
  return {
    model,
    initial: trajectory?.init === undefined ? trajectory : undefined,
    trained:
      trajectory && steps !== undefined
        ? { steps, tokens: steps * batch * accumulate * world * model.config.context }
        : undefined,
  };
}

/** Minimum text length in context windows: shorter texts give no reliable token frequencies. */
const LEAST_WINDOWS = 8;

function checkLength(tokens: number, context: number): void {
  const least = LEAST_WINDOWS * context;
  if (tokens >= least) return;
  throw new ReflowError(
    "data",
    `the text has only ${tokens} tokens`,
    `give at least ${least}, ${LEAST_WINDOWS} times the context`,
  );
}

/** Paths of the evaluation sets in the folder of `--eval`. */
const SETS: Readonly<Record<keyof EvaluationSets, string>> = {
  analogies: "questions-words.txt",
  similarity: "simlex999.txt",
  sentences: "sst2/dev.txt",
};

function readSets(folder: string): EvaluationSets {
  const there = Object.entries(SETS).filter(([, name]) => existsSync(join(folder, name)));
  if (there.length === 0) {
    const help = `give a folder with any of ${Object.values(SETS).join(", ")}`;
    throw new ReflowError("data", `${folder} has no evaluation sets`, help);
  }
  return Object.fromEntries(
    there.map(([set, name]) => {
      const file = join(folder, name);
      return [set, wrapFileErrors(file, () => readFileSync(file, "utf8"))];
    }),
  );
}

/** Progress of the suite: a bar on a terminal, otherwise a line per experiment. */
class Progress {
  readonly #bar?: SingleBar;
  #at = "";

  constructor() {
    if (!process.stderr.isTTY) return;
    const format = "{at} {bar} {percentage}%  ETA {eta_formatted}";
    const options = { format, barsize: 20, etaBuffer: 100, clearOnComplete: true, linewrap: true };
    this.#bar = new SingleBar(options, Presets.shades_grey);
  }

  show(at: string, done: number): void {
    const isFirst = this.#at === "";
    if (at !== this.#at && !this.#bar) note(`${at} …`);
    this.#at = at;
    if (isFirst) this.#bar?.start(1, 0, { at });
    this.#bar?.update(done, { at: at.padEnd(15) });
  }

  stop(): void {
    if (this.#at !== "") this.#bar?.stop();
  }
}

// ---- output -----------------------------------------------------------------------------------------------

const [NAME, FIGURE] = [25, 10];
const mark = (holds: boolean): string => (holds ? "✓" : "–");

/** Table of claims, 58 columns wide. */
function layOut({ certificate }: Results, report: string): string {
  const { claims, family } = certificate;
  const row = (name: string, ...cells: string[]) =>
    name.padEnd(NAME + 2) + cells.map((cell) => cell.padStart(FIGURE)).join("");
  const rows = claims.map(({ id, effect, null: { mean }, pHolm, holds }) =>
    row(`${mark(holds)} ${id}`, short(effect), short(mean), pText(pHolm)),
  );
  const holding = claims.filter(({ holds }) => holds).length;
  return [
    row("  claim", "observed", "chance", "p (Holm)"),
    ...rows,
    "",
    `${holding} of ${claims.length} claims hold (✓: p < .05, corrected for ${family} claims)`,
    report,
  ].join("\n");
}

async function compare(path: string | undefined, given: readonly string[], flags: ProbeFlags): Promise<void> {
  if (path !== undefined || given.length !== 2) {
    throw new ReflowError("usage", "--compare takes two results and no checkpoint", "give --compare A B");
  }
  const { readResults } = await import("../report/results.ts");
  const { pairedClaims, renderComparison } = await import("../report/comparison.ts");
  const { checkOutputFolder, writeFiles } = await import("../shared/output.ts");
  const [a, b] = given.map((name): ComparedRun => ({ name, results: readResults(name) }));
  const folder = existsSync(join(given[0], RESULTS)) ? given[0] : dirname(given[0]);
  const { out = folder, json } = flags;
  checkOutputFolder(out);
  writeFiles(out, { [COMPARISON]: renderComparison([a, b]) });
  const pairs = pairedClaims([a, b]);
  if (json) {
    console.log(JSON.stringify({ claims: Object.fromEntries(pairs.map(([id, [a, b]]) => [id, { a, b }])) }));
    return;
  }
  const row = (name: string, ...cells: string[]) =>
    name.padEnd(NAME) + cells.map((cell) => cell.padStart(14)).join("");
  console.log(
    [
      row("claim", "A", "B"),
      ...pairs.map(([id, claims]) =>
        row(
          id,
          ...claims.map((claim) =>
            claim ? `${mark(claim.holds)} ${short(claim.effect).padStart(8)}` : "not run",
          ),
        ),
      ),
      "",
      join(out, COMPARISON),
    ].join("\n"),
  );
}

const COMPARISON = "compare.html";
