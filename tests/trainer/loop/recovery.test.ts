/** A killed run, a full disk, a loss that isn't finite: the last good checkpoint is there, and goes on. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openCheckpoint } from "../../../runtime/formats/checkpoint.ts";
import { assertSame, COMMON, CPU, text, timeless, Workplace } from "../workspace.ts";

const place = new Workplace();
const TIMEOUT = { timeout: 60_000 };

/** Opens a run's newest checkpoint, hashes compared. Its step, and whether all its values are finite. */
function readNewest(run: string): { step: number; finite: boolean } {
  const checkpoint = openCheckpoint(place.path(run));
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

test("kill -9 at any moment of a run that saves at every step", TIMEOUT, async () => {
  const args = [...COMMON, "--steps", "100000", "--save-every", "1", "--log-every", "1", "--out", "killed"];
  let last = 0;
  for (let round = 0; round < 6; round++) {
    const trainer = place.start([...args, ...(round === 0 ? [] : ["--resume"])]);
    await trainer.says(new RegExp(`step ${last + 3}/`));
    await sleep(23 * Math.random());
    trainer.signal("SIGKILL");
    await trainer.ends("SIGKILL");
    const { step, finite } = readNewest("killed");
    assert.ok(step >= last + 2 && finite, `step ${step} after ${last}`);
    last = step;
  }
  const trainer = place.start([...args, "--resume"]);
  await trainer.says(/\nstep /);
  trainer.signal("SIGTERM");
  await trainer.ends(143);
  const { step } = readNewest("killed");
  const steps = timeless(place.metrics("killed")).map(({ step }) => step);
  assert.deepEqual(
    steps,
    Array.from({ length: step }, (_, i) => i + 1),
  );
  const names = readdirSync(place.path("killed")).sort();
  assert.deepEqual(names, ["metrics.jsonl", ...place.checkpoints("killed")], "what the kills left is gone");
  assert.equal(place.checkpoints("killed").length, 2);
});

interface Disk {
  name: string;
  error: RegExp;
  /** Makes a run's folder too small for a second checkpoint of 400 KB, */
  narrow(folder: string): void;
  /** this, put before the command, does. */
  wrap: string[];
  widen(folder: string): void;
  /** Before the folder can be removed. */
  release(folder: string): void;
}

const fileSizeLimit: Disk = {
  name: "a limit on the size of files",
  error: /could not be written: the file is larger than is allowed there \(EFBIG\)/,
  narrow() {},
  // In blocks of 512 bytes. Where the signal is ignored, write says EFBIG.
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
  const folder = place.path("mount");
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
    `${disk.name} is reported, the old checkpoint kept; with space, the run goes on`,
    TIMEOUT,
    async () => {
      const run = disk.name.replaceAll(" ", "-");
      disk.narrow(place.path(run));
      try {
        const args = [...COMMON, "--schedule", "constant", "--warmup", "5"];
        await place.run([...args, "--steps", "10", "--save-every", "10", "--out", run]);
        const before = place.newest(run);
        const more = [...args, "--steps", "20", "--save-every", "20", "--out", run, "--resume"];
        const { stderr } = await place.run(more, 2, disk.wrap);
        assert.match(stderr, disk.error);
        assert.match(stderr, /\nhelp: {2}/);
        assert.deepEqual(readdirSync(place.path(run)).sort(), ["metrics.jsonl", "step-00000010"]);
        assertSame(place.newest(run), before, "the old checkpoint");
        disk.widen(place.path(run));
        await place.run(more);
        assert.deepEqual(readNewest(run), { step: 20, finite: true });
      } finally {
        disk.release(place.path(run));
      }
    },
  );
}

test("a gradient that is not finite: back a few times, then given up", TIMEOUT, async () => {
  const wild = ["--lr", "1e10", "--grad-clip", "0", "--warmup", "0", "--save-every", "1", "--steps", "30"];
  const { stderr } = await place.run([...COMMON, ...wild, "--out", "wild"], 2);
  const back = stderr.match(/^step 2: the .* is NaN; back to step 1, passing over the batches in between$/gm);
  assert.equal(back?.length, 3, stderr);
  assert.match(stderr, /\nerror: step 2: the .* is NaN, after going back 3 times\nhelp: {2}lower --lr/);
  assert.deepEqual(readNewest("wild"), { step: 1, finite: true });
});

test("an update that is not finite is never saved", TIMEOUT, async () => {
  const wild = ["--lr", "1e39", "--grad-clip", "0", "--warmup", "0", "--save-every", "1", "--steps", "30"];
  const { stderr } = await place.run([...COMMON, ...wild, "--out", "wilder"], 2);
  assert.match(stderr, /error: step 1: the weights' norm became (NaN|Infinity), after going back 3 times/);
  assert.deepEqual(place.checkpoints("wilder"), []);
  assert.equal(existsSync(place.path("wilder", "trainer.lock")), false);
});

test("two trainers on one folder: the second refuses, naming the first", TIMEOUT, async () => {
  const first = place.start([...COMMON, "--steps", "100000", "--out", "shared", "--log-every", "1"]);
  await first.says(/\nstep 1\//);
  const second = await place.run([...COMMON, "--out", "shared"], 2);
  assert.match(
    second.stderr,
    new RegExp(`error: shared is in use by process ${first.child.pid}\nhelp: {2}wait`),
  );
  first.signal("SIGINT");
  await first.ends(130);
  const third = await place.run([...COMMON, "--out", "shared"], 2);
  assert.match(third.stderr, /error: shared holds a run already\nhelp: {2}add --resume/);
});

test("a run that another trainer begins and ends in the meantime is left alone", TIMEOUT, async () => {
  writeFileSync(place.path("long.txt"), text(3_000_000));
  const args = ["--config", "config.json", ...CPU, "--steps", "5", "--out", "meantime"];
  const second = place.start([...args, "--data", "long.txt"]);
  // It has seen that the folder is free, and has some tenths of a second to tokenize.
  await second.says(/AdamW/);
  second.signal("SIGSTOP");
  await place.run([...args, "--data", "text.txt"]);
  const first = place.newest("meantime");
  second.signal("SIGCONT");
  await second.ends(2);
  assert.match(second.stderr, /error: meantime holds a run already/);
  assertSame(place.newest("meantime"), first, "the first run");
});

test("a signal does not wait for the end of a long step", TIMEOUT, async () => {
  const trainer = place.start([...COMMON, "--accumulate", "100000", "--out", "long"]);
  await trainer.says(/writing to long/);
  await sleep(100);
  trainer.signal("SIGINT");
  await trainer.ends(130);
  assert.deepEqual(readNewest("long"), { step: 0, finite: true });
});
