import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import { BUNDLED_MODEL } from "../../server/options.ts";
import { bytes } from "../shared/format.ts";
import { CHECKPOINT } from "../shared/options.ts";

export function exportPageCommand(): Command {
  return new Command("export-page")
    .summary("Export the playground as static files.")
    .description(
      "Write the playground as a folder of static files that runs a model in the browser, offline.",
    )
    .argument("[checkpoint]", `${CHECKPOINT} (default: the bundled model)`)
    .requiredOption("--out <folder>", "folder to write: must be new or empty")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Any static file server can serve it. The page runs on one thread, unless the
server sends the headers
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp

Example: bun run cli export-page runs/tiny --out site
Then:    python3 -m http.server --directory site`,
    )
    .action(exportPage);
}

async function exportPage(
  path: string | undefined,
  { out, json }: { out: string; json?: boolean },
): Promise<void> {
  const { heldOutOf, openCheckpoint } = await import("../../runtime/formats/checkpoint.ts");
  const { HELD_OUT, WEIGHT_FILES } = await import("../../runtime/formats/checkpoint-tensors.ts");
  const { buildPage } = await import("../../server/assets.ts");
  if (existsSync(out) && readdirSync(out).length > 0) {
    throw new ReflowError("usage", `${out} is not empty`, "give another --out, or remove its contents");
  }
  const checkpoint = openCheckpoint(path ?? BUNDLED_MODEL);
  const { folder, tokenizerJson } = checkpoint;
  checkpoint.close();
  if (tokenizerJson === undefined) {
    throw new ReflowError(
      "checkpoint",
      `${folder} has no tokenizer.json`,
      "copy the tokenizer.json that it was trained with into the folder",
    );
  }
  const page = await buildPage();
  const files = new Map<string, number>();
  const add = (name: string, write: (path: string) => void) => {
    const path = join(out, name);
    mkdirSync(dirname(path), { recursive: true });
    write(path);
    files.set(name, statSync(path).size);
  };
  for (const [name, file] of page) {
    // The page is the server's, with the tag that selects the in-browser engine.
    const text = name === "index.html" ? (await file.text()).replace(REMOTE, LOCAL) : undefined;
    const data = text ?? new Uint8Array(await file.arrayBuffer());
    add(name, (path) => writeFileSync(path, data));
  }
  const copy = (name: string, from: string) => add(`model/${name}`, (path) => copyFileSync(from, path));
  const weights = existsSync(join(folder, WEIGHT_FILES.int8))
    ? { file: join(folder, WEIGHT_FILES.int8), done() {} }
    : await quantized(folder);
  copy(WEIGHT_FILES.int8, weights.file);
  weights.done();
  for (const name of ["config.json", "tokenizer.json"]) copy(name, join(folder, name));
  const heldOut = heldOutOf(folder);
  if (heldOut) copy(HELD_OUT, heldOut);
  const total = [...files.values()].reduce((sum, size) => sum + size, 0);
  if (json)
    console.log(JSON.stringify({ folder: resolve(out), bytes: total, files: Object.fromEntries(files) }));
  else
    console.log(
      `${out}: ${files.size} files, ${bytes(total)}\nserve it: python3 -m http.server --directory ${out}`,
    );
}

const REMOTE = '<meta name="reflow-engine" content="remote">';
const LOCAL = '<meta name="reflow-engine" content="local">';

/** Quantises the weights to int8 in a temporary folder, which `done` removes; the checkpoint is not modified. */
async function quantized(folder: string): Promise<{ file: string; done(): void }> {
  const { quantizeCheckpoint } = await import("../../runtime/formats/quantize.ts");
  const copy = mkdtempSync(join(tmpdir(), "reflow-page-"));
  const done = () => rmSync(copy, { recursive: true, force: true });
  try {
    for (const name of ["config.json", "tokenizer.json", "model.safetensors"]) {
      symlinkSync(resolve(folder, name), join(copy, name));
    }
    const file = quantizeCheckpoint(copy);
    return { file: join(dirname(file), "model.int8.safetensors"), done };
  } catch (error) {
    done();
    throw error;
  }
}
