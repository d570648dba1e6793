/** The output and files of the command, for valid and invalid input. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { openCheckpoint } from "../../runtime/formats/checkpoint.ts";
import { COMMON, CPU, MODEL, Workspace } from "./workspace.ts";

const workspace = new Workspace();
const TIMEOUT = { timeout: 60_000 };
const SHAPE = ["--config", "config.json", ...CPU];

test("metrics.jsonl, and plain lines without a terminal", TIMEOUT, async () => {
  const args = ["--steps", "25", "--log-every", "10", "--eval-every", "10", "--out", "plain"];
  const { stdout, stderr } = await workspace.run([...COMMON, ...args]);
  const metrics = workspace.metrics("plain");
  assert.deepEqual(
    metrics.map((line) => Object.keys(line).join()),
    [
      "step,loss,lr,gradNorm,tokens,tokensPerSecond,roofShare",
      "step,valLoss",
      "step,loss,lr,gradNorm,tokens,tokensPerSecond,roofShare",
      "step,valLoss",
      "step,loss,lr,gradNorm,tokens,tokensPerSecond,roofShare",
      "step,valLoss",
    ],
  );
  assert.deepEqual(
    metrics.map(({ step }) => step),
    [10, 10, 20, 20, 25, 25],
  );
  for (const { step, tokens, loss = 1, gradNorm = 1, tokensPerSecond = 1 } of metrics) {
    if (tokens !== undefined) assert.equal(tokens, step * 8 * MODEL.context);
    assert.ok(loss > 0 && gradNorm > 0 && tokensPerSecond > 0);
  }

  const [beyondAscii] = stderr.match(/[^\n -~×→…–—]/) ?? [];
  assert.equal(beyondAscii, undefined, "unexpected character");
  const steps = stderr.split("\n").filter((line) => line.startsWith("step "));
  assert.equal(steps.length, 3);
  const line = /^step \d+\/25 {2}loss \d\.\d{4} {2}val \d\.\d{3} {2}[\d,]+ tok\/s {2}\d+% of roof$/;
  for (const step of steps) assert.match(step, line);
  const { valLoss } = metrics.at(-1)!;
  assert.ok(stdout.startsWith(`Validation loss ${valLoss.toFixed(4)} nats per token`), stdout);
  for (const part of [
    / {2}\d\.\d{3} (above|below) the baseline of unigrams, \d\.\d{4}/,
    /Sample:\n/,
    /Nearest neighbours in recipe space/,
    /\nCheckpoint: plain\/step-00000025\nNext:\n {2}bun run cli sample plain\/step-00000025/,
  ]) {
    assert.match(stdout, part);
  }
});

test("a context that is too short for the sample's prompt", TIMEOUT, async () => {
  const { stdout } = await workspace.run([...COMMON, "--steps", "2", "--context", "4", "--out", "short"]);
  assert.match(stdout, /Sample:\n/);
});

test("a terminal has a progress bar that fits its width", TIMEOUT, async () => {
  for (const columns of [80, 60]) {
    const out = `terminal-${columns}`;
    // `script` provides a terminal, and joins its command from words.
    const inTerminal = ["sh", "-c", `script -qec "stty cols ${columns}; exec $*" /dev/null`, "sh"];
    const { stdout } = await workspace.run([...COMMON, "--steps", "150", "--out", out], 0, inTerminal);
    const visible = stdout.replaceAll("\x1b", "␛");
    const frames = visible.split(/␛\[1G|[\r\n]/).map((text) => text.replace(/␛\d|␛\[[?\d]*[a-zA-Z]/g, ""));
    const bars = frames.filter((text) => text.includes("ETA"));
    const figures = columns < 80 ? /^\d+\/150 / : /^[█░]+ \d+\/150 /;
    assert.ok(bars.length >= 2, stdout);
    for (const bar of bars) {
      assert.match(bar, figures);
      assert.ok(bar.length <= columns, bar);
    }
    const last = bars.at(-1)!;
    assert.match(last, /150\/150 {2}loss \d\.\d{3} {2}val \d\.\d{3} {2}[\d,]+ tok\/s {2}.*ETA 0s/);
    assert.equal(/\d+% of roof/.test(last), columns >= 80);
  }
});

test("without --out: runs/PRESET, then runs/PRESET-2", TIMEOUT, async () => {
  const args = [...COMMON, "--steps", "2"];
  const folders = [];
  for (let i = 0; i < 2; i++) {
    const { stdout } = await workspace.run(args);
    folders.push(/Checkpoint: (.*)\//.exec(stdout)![1]);
  }
  assert.deepEqual(folders, ["runs/tiny", "runs/tiny-2"]);
  const { stdout } = await workspace.run([...COMMON, "--steps", "4", "--resume"]);
  assert.match(stdout, /Checkpoint: runs\/tiny-2\/step-00000004/);
});

test("--dry-run writes nothing", TIMEOUT, async () => {
  const before = readdirSync(workspace.folder);
  const { stderr, stdout } = await workspace.run([...COMMON, "--steps", "20", "--dry-run", "--out", "dry"]);
  assert.match(stderr, /0\.03M parameters[\s\S]*20 steps of 128 tokens[\s\S]*training tokens/);
  assert.equal(stdout, "");
  assert.deepEqual(readdirSync(workspace.folder), before);
});

test("--init takes only the weights", TIMEOUT, async () => {
  await workspace.run([...COMMON, "--variant", "gpt2-new", "--steps", "20", "--out", "first"]);
  // With another text, the tokenizer is still that of the weights.
  writeFileSync(workspace.path("other.txt"), readFileSync(workspace.path("text.txt"), "utf8").toUpperCase());
  const init = ["--init", "first", "--data", "other.txt", "--batch", "4", ...CPU];
  const frozen = ["--lr", "0", "--steps", "3", "--save-every", "1", "--keep", "9"];
  await workspace.run([...init, ...frozen, "--out", "second"]);
  assert.deepEqual(workspace.checkpoints("second"), ["step-00000001", "step-00000002", "step-00000003"]);
  const [first, second] = [workspace.newest("first"), workspace.newest("second")];
  for (const name of ["config.json", "tokenizer.json", "model.safetensors"]) {
    assert.ok(second.get(name)!.equals(first.get(name)!), name);
  }
  assert.ok(!second.get("optimizer.safetensors")!.equals(first.get("optimizer.safetensors")!));
  // A resumed run uses its own tokenizer.
  await workspace.run(["--out", "second", "--resume", "--steps", "4", ...CPU]);
  assert.ok(workspace.newest("second").get("tokenizer.json")!.equals(first.get("tokenizer.json")!));

  const other = [...init, "--config", "config.json", "--out", "third"];
  const { stderr } = await workspace.run([...other, "--variant", "reflow"], 2);
  assert.match(stderr, /error: the model's variant is reflow, but that of --init is gpt2-new/);
  assert.equal(existsSync(workspace.path("third")), false);
});

test("tokens of nanoGPT and llm.c", TIMEOUT, async () => {
  const ids = (length: number) => Uint16Array.from({ length }, (_, i) => (i * i) % 300);
  const llmc = (length: number) => {
    const file = new Uint8Array(1024 + 2 * length);
    file.set(new Uint8Array(Int32Array.of(20240520, 1, length).buffer));
    file.set(new Uint8Array(ids(length).buffer), 1024);
    return file;
  };
  writeFileSync(workspace.path("train.bin"), ids(2000));
  writeFileSync(workspace.path("val.bin"), ids(300));
  writeFileSync(workspace.path("tiny_train.bin"), llmc(2000));
  writeFileSync(workspace.path("tiny_val.bin"), llmc(300));
  const run = (data: string) =>
    workspace.run([...SHAPE, "--data", data, "--steps", "5", "--out", `of-${data}`]);
  const [{ stderr, stdout }] = await Promise.all([run("train.bin"), run("tiny_train.bin")]);
  assert.match(stderr, /2,000 training tokens, 300 validation tokens, no tokenizer/);
  assert.doesNotMatch(stdout, /bits per byte|Sample:/);
  const [nanogpt, llm] = ["train.bin", "tiny_train.bin"].map((data) => workspace.newest(`of-${data}`));
  assert.ok(nanogpt.get("model.safetensors")!.equals(llm.get("model.safetensors")!));
  assert.equal(nanogpt.has("tokenizer.json"), false);
  openCheckpoint(workspace.path("of-train.bin")).close();
});

test("invalid input is an error with help, and leaves no files behind", TIMEOUT, async () => {
  writeFileSync(workspace.path("odd.bin"), new Uint8Array(1001));
  writeFileSync(
    workspace.path("far.bin"),
    Uint16Array.from({ length: 999 }, (_, i) => i),
  );
  writeFileSync(workspace.path("empty.txt"), " \n");
  writeFileSync(workspace.path("typo.json"), '{"d_modle": 32}');
  writeFileSync(workspace.path("odd.json"), JSON.stringify({ ...MODEL, n_heads: 5 }));
  const wrong: [string[], RegExp][] = [
    [["--stpes", "3"], /unknown option '--stpes'\n\(Did you mean --steps\?\)/],
    [["more"], /too many arguments/],
    [["--steps", "many"], /--steps.*'many' is invalid\. Expected a number/],
    [["--preset", "nanoo"], /--preset nanoo is not a known preset\nhelp: {2}did you mean nano\?/],
    [
      ["--preset", "reflow-1"],
      /^error: training reflow-1 needs \d+\.\d GiB, but WebAssembly is limited to 4 GiB/,
    ],
    [["--device", "gpu"], /--device is "gpu"\nhelp: {2}expected auto, wasm, webgpu, or a webgpu:N/],
    [["--world", "many"], /--world.*'many' is invalid\. Expected a number/],
    [["--wire", "bf16"], /--wire bf16 requires MPI\nhelp: {2}pass --collective mpi/],
    [["--config", "typo.json"], /d_modle is not a known option\nhelp: {2}did you mean d_model\?/],
    [["--config", "odd.json"], /n_heads 5 does not divide d_model 32/],
    [["--context", "5000"], /a window of context 5000 requires 5001\nhelp: {2}pass more text, or a smaller/],
    [["--data", "none.txt"], /none\.txt: no such file or folder/],
    [["--data", "empty.txt"], /empty\.txt contains no text/],
    [["--data", "odd.bin"], /odd\.bin: 1001 bytes are not a whole number of uint16 ids/],
    [["--data", "far.bin"], /far\.bin: token 300 is 300, but the vocabulary has 300 tokens/],
    [["--tokenizer", "bpe:400", "--config", "config.json"], /the tokenizer has 400 tokens, .* only 300/],
    [["--init", "nowhere"], /nowhere does not exist/],
    [["--out", "text.txt"], /--out text\.txt is a file/],
    [["--resume"], /refused contains no checkpoint to resume from\nhelp: {2}omit --resume/],
  ];
  const before = readdirSync(workspace.folder);
  const refuse = async ([args, expected]: (typeof wrong)[number]) => {
    const isData = args.some((arg) => /^--(data|context)$/.test(arg));
    const common = isData || args[0] === "--preset" ? SHAPE.slice(isData ? 0 : 2) : [];
    const { stdout, stderr } = await workspace.run(
      ["--data", "text.txt", "--out", "refused", ...common, ...args],
      2,
    );
    assert.match(stderr, expected);
    assert.doesNotMatch(stderr, /\n {4}at /, "a stack trace");
    assert.equal(stdout, "");
  };
  // Two at a time.
  for (let i = 0; i < wrong.length; i += 2) await Promise.all(wrong.slice(i, i + 2).map(refuse));
  assert.deepEqual(readdirSync(workspace.folder), before);
});
