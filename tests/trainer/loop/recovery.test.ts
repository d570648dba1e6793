/** After a kill, a full disk or a non-finite loss, the last good checkpoint remains and can be resumed. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openCheckpoint } from "../../../runtime/formats/checkpoint.ts";
import { assertSameFiles, COMMON, CPU, text, Workspace, withoutTimings } from "../workspace.ts";

const workspace = new Workspace();
const TIMEOUT = { timeout: 60_000 };

/** Opens and verifies a run's newest checkpoint. Returns its step, and whether all its values are finite. */
function readNewest(run: string): { step: number; finite: boolean } {
  const checkpoint = openCheckpoint(workspace.path(run));
  const { position } = checkpoint.readJson("trainer.json") as { position: { step: number } };
  const moments = checkpoint.openTensors("optimizer.safetensors");
  let finite = true;
  for (const file of [checkpoint.tensors, moments]) {
    for (const name of file.tensors.keys()) {
      file.readF32(name, (values) => {
        finite &&= values.every(Number.isFinite);
      });
    }
    file.close();
  }
  return { step: position.step, finite };
}

test("kill -9 at random times of a run that saves at every step", TIMEOUT, async () => {
  const args = [...COMMON, "--steps", "100000", "--save-every", "1", "--log-every", "1", "--out", "killed"];
  let last = 0;
  for (let round = 0; round < 6; round++) {
    const trainer = workspace.start([...args, ...(round === 0 ? [] : ["--resume"])]);
    await trainer.waitForOutput(new RegExp(`step ${last + 3}/`));
    await sleep(23 * Math.random());
    trainer.signal("SIGKILL");
    await trainer.waitForExit("SIGKILL");
    const { step, finite } = readNewest("killed");
    assert.ok(step >= last + 2 && finite, `step ${step} after ${last}`);
    last = step;
  }
  const trainer = workspace.start([...args, "--resume"]);
  await trainer.waitForOutput(/\nstep /);
  trainer.signal("SIGTERM");
  await trainer.waitForExit(143);
  const { step } = readNewest("killed");
  const steps = withoutTimings(workspace.metrics("killed")).map(({ step }) => step);
  assert.deepEqual(
    steps,
    Array.from({ length: step }, (_, i) => i + 1),
  );
  const names = readdirSync(workspace.path("killed")).sort();
  assert.deepEqual(
    names,
    ["metrics.jsonl", ...workspace.checkpoints("killed")],
    "files left behind by the kills are removed",
  );
  assert.equal(workspace.checkpoints("killed").length, 2);
});

interface Disk {
  name: string;
  error: RegExp;
  /** Makes a run's folder too small for a second checkpoint of 400 KB, unless {@link wrap} does. */
  narrow(folder: string): void;
  /** A command that runs the trainer with the limit. */
  wrap: string[];
  widen(folder: string): void;
  /** Must be called before the folder can be removed. */
  release(folder: string): void;
}

const fileSizeLimit: Disk = {
  name: "a limit on file sizes",
  error: /could not be written: the file exceeds the allowed size \(EFBIG\)/,
  narrow() {},
  // In blocks of 512 bytes. With the signal ignored, write fails with EFBIG.
  wrap: ["sh", "-c", 'trap "" XFSZ; ulimit -f 400; exec "$@"', "sh"],
  widen() {},
  release() {},
};

const fullDisk: Disk = {
  name: "a full disk",
  error: /could not be written: no space is left on the disk \(ENOSPC, \d+ MB free\)/,
  narrow(folder) {
    mkdirSync(folder);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=600k", "reflow-test", folder]);
  },
  wrap: [],
  widen: (folder) => execFileSync("mount", ["-o", "remount,size=4m", folder]),
  release: (folder) => execFileSync("umount", ["-l", folder]),
};

/** Mounting is a privilege; the other way to fill a disk is always there. */
function canMount(): boolean {
  const folder = workspace.path("mount");
  mkdirSync(folder);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4k", "reflow-test", folder], { stdio: "ignore" });
    execFileSync("umount", [folder]);
    return true;
  } catch {
    return false;
  }
}

// Deno's error says nothing but "File too large (os error 27)".
const disks = "Deno" in globalThis ? [] : [fileSizeLimit];
if (canMount()) disks.push(fullDisk);
for (const disk of disks) {
  test(
    `${disk.name} is an error that keeps the old checkpoint; with space, the run resumes`,
    TIMEOUT,
    async () => {
      const run = disk.name.replaceAll(" ", "-");
      disk.narrow(workspace.path(run));
      try {
        const args = [...COMMON, "--schedule", "constant", "--warmup", "5"];
        await workspace.run([...args, "--steps", "10", "--save-every", "10", "--out", run]);
        const before = workspace.newest(run);
        const more = [...args, "--steps", "20", "--save-every", "20", "--out", run, "--resume"];
        const { stderr } = await workspace.run(more, 2, disk.wrap);
        assert.match(stderr, disk.error);
        assert.match(stderr, /\nhelp: {2}/);
        assert.deepEqual(readdirSync(workspace.path(run)).sort(), ["metrics.jsonl", "step-00000010"]);
        assertSameFiles(workspace.newest(run), before, "the old checkpoint");
        disk.widen(workspace.path(run));
        await workspace.run(more);
        assert.deepEqual(readNewest(run), { step: 20, finite: true });
      } finally {
        disk.release(workspace.path(run));
      }
    },
  );
}

test("a non-finite gradient is rolled back a few times, then ends the run", TIMEOUT, async () => {
  const wild = ["--lr", "1e10", "--grad-clip", "0", "--warmup", "0", "--save-every", "1", "--steps", "30"];
  const { stderr } = await workspace.run([...COMMON, ...wild, "--out", "wild"], 2);
  const rollbacks = stderr.match(
    /^step 2: the .* is NaN; rolled back to step 1, skipping the batches in between$/gm,
  );
  assert.equal(rollbacks?.length, 3, stderr);
  assert.match(stderr, /\nerror: step 2: the .* is NaN, after 3 rollbacks\nhelp: {2}lower --lr/);
  assert.deepEqual(readNewest("wild"), { step: 1, finite: true });
});

test("a non-finite update is never saved", TIMEOUT, async () => {
  const wild = ["--lr", "1e39", "--grad-clip", "0", "--warmup", "0", "--save-every", "1", "--steps", "30"];
  const { stderr } = await workspace.run([...COMMON, ...wild, "--out", "wilder"], 2);
  assert.match(stderr, /error: step 1: the weights' norm became (NaN|Infinity), after 3 rollbacks/);
  assert.deepEqual(workspace.checkpoints("wilder"), []);
  assert.equal(existsSync(workspace.path("wilder", "trainer.lock")), false);
});

test("a second trainer on the same folder is an error that names the first", TIMEOUT, async () => {
  const first = workspace.start([...COMMON, "--steps", "100000", "--out", "shared", "--log-every", "1"]);
  await first.waitForOutput(/\nstep 1\//);
  const second = await workspace.run([...COMMON, "--out", "shared"], 2);
  assert.match(
    second.stderr,
    new RegExp(`error: shared is in use by process ${first.child.pid}\nhelp: {2}wait`),
  );
  first.signal("SIGINT");
  await first.waitForExit(130);
  const third = await workspace.run([...COMMON, "--out", "shared"], 2);
  assert.match(third.stderr, /error: shared already contains a run\nhelp: {2}pass --resume/);
});

test("a run that another trainer completes in the meantime is not overwritten", TIMEOUT, async () => {
  writeFileSync(workspace.path("long.txt"), text(3_000_000));
  const args = ["--config", "config.json", ...CPU, "--steps", "5", "--out", "meantime"];
  const second = workspace.start([...args, "--data", "long.txt"]);
  // It has found the folder unused, and then tokenizes for a few tenths of a second.
  await second.waitForOutput(/AdamW/);
  second.signal("SIGSTOP");
  await workspace.run([...args, "--data", "text.txt"]);
  const first = workspace.newest("meantime");
  second.signal("SIGCONT");
  await second.waitForExit(2);
  assert.match(second.stderr, /error: meantime already contains a run/);
  assertSameFiles(workspace.newest("meantime"), first, "the first run");
});

test("a signal interrupts a long step", TIMEOUT, async () => {
  const trainer = workspace.start([...COMMON, "--accumulate", "100000", "--out", "long"]);
  await trainer.waitForOutput(/writing to long/);
  await sleep(100);
  trainer.signal("SIGINT");
  await trainer.waitForExit(130);
  assert.deepEqual(readNewest("long"), { step: 0, finite: true });
});
