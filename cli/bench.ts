import { Command } from "commander";
import { ReflowError } from "../runtime/errors.ts";
import { number } from "../trainer/command.ts";
import type { Row } from "./bench/measure.ts";

/** The beginnings of all rows' names. */
const ROWS = [
  ...["nn", "nt", "tn"].flatMap((kind) => [512, 1024].map((size) => `gemm/${kind}/${size}`)),
  ...["train-step/nano", "decode/nano/int8", "decode/small/int8", "read-bandwidth", "peer"],
];

export function benchCommand(): Command {
  return new Command("bench")
    .description("Measure the kernels against the machine's roof, and against other libraries.")
    .argument("[names...]", "only rows whose names begin so: gemm, train-step, decode, read-bandwidth, peer")
    .option("--threads <n>", "at most (every core)", number)
    .option("--json", "one JSON object")
    .addHelpText(
      "after",
      `
The roof is the rate of multiply-adds in registers, in this engine, on as many threads, measured by turns with each
row; that of decoding is a bare loop of int8 dot products over the same bytes. Figures are the best of several runs.

Example: bun run cli bench gemm/nn --json`,
    )
    .action(bench);
}

async function bench(names: string[], options: { threads?: number; json?: boolean }): Promise<void> {
  const { createWasmBackend } = await import("../runtime/backend/wasm/mod.ts");
  const { benchGemm, product } = await import("./bench/gemm.ts");
  const wanted = (name: string) => names.length === 0 || names.some((prefix) => name.startsWith(prefix));
  const unknown = names.find((name) => !ROWS.some((each) => each.startsWith(name)));
  if (unknown !== undefined) {
    throw new ReflowError("usage", `no row's name begins with "${unknown}"`, `there are ${ROWS.join(", ")}`);
  }
  const rows: Row[] = [];
  const add = (...more: Row[]) => {
    rows.push(...more);
    if (!options.json) for (const each of more) console.log(format(each));
  };

  const one = await createWasmBackend({ threads: 1 });
  const all = await createWasmBackend({ threads: options.threads });
  if (!options.json) console.log(`${all.description}\n`);
  add(...(await benchGemm(one, all, wanted)));
  if (wanted("train-step/nano")) {
    const { benchTraining } = await import("./bench/training.ts");
    add(await benchTraining(all));
  }
  const { benchDecode, benchReading } = await import("./bench/decode.ts");
  for (const preset of ["nano", "small"]) {
    if (wanted(`decode/${preset}/int8`)) add(await benchDecode(all, preset));
  }
  if (wanted("read-bandwidth")) add(await benchReading(all));
  if (wanted("peer")) {
    const { benchPeers } = await import("./bench/peers.ts");
    const backends = [one, all];
    add(
      ...(await benchPeers({
        threads: backends.map(({ threads }) => threads),
        product: (threads, size) => product(threads === 1 ? one : all, "nn", size),
      })),
    );
  }
  if (options.json) console.log(JSON.stringify({ device: all.description, engine: engine(), rows }));
}

function engine(): string {
  const { bun, deno, node } = process.versions as Record<string, string | undefined>;
  if (bun) return `Bun ${bun}`;
  return deno ? `Deno ${deno}` : `Node ${node}`;
}

function format({ name, value, unit, roof, fraction, threads }: Row): string {
  const figure = (n: number) => n.toLocaleString("en", { maximumSignificantDigits: 4 });
  const of = roof === undefined ? "" : `  ${(100 * fraction!).toFixed(0).padStart(3)}% of ${figure(roof)}`;
  return `${name.padEnd(28)} ${figure(value).padStart(8)} ${unit.padEnd(8)} ${threads} thread${threads > 1 ? "s" : " "}${of}`;
}
