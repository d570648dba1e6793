/** The trainer as a job of an MPI launcher. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { test } from "node:test";
import { assertSameFiles, COMMON, Workspace, withoutTimings } from "../../workspace.ts";
import { MPIS } from "./mpirun.ts";

const workspace = new Workspace();
const TIMEOUT = { timeout: 60_000 };
const COMMAND = [...COMMON, "--device", "wasm", "--batch", "4", "--lr", "1e-3", "--log-every", "1"];
const SHORT = [...COMMAND, "--steps", "20"];
const LONG = [...COMMAND, "--steps", "120", "--save-every", "20"];
const MPI = ["--collective", "mpi"];

test("reference runs on one rank, and on two over shared memory", TIMEOUT, async () => {
  await workspace.run([...SHORT, "--world", "1", "--accumulate", "2", "--out", "alone"]);
  await workspace.run([...SHORT, "--world", "2", "--out", "shared"]);
  await workspace.run([...LONG, "--world", "2", "--out", "uninterrupted"]);
});

const losses = (run: string) => withoutTimings(workspace.metrics(run)).flatMap(({ loss }) => loss ?? []);

function assertNear(found: number[], expected: number[], relative: number): void {
  assert.equal(found.length, expected.length);
  for (const [i, loss] of expected.entries()) {
    assert.ok(Math.abs(found[i] - loss) <= relative * loss, `step ${i + 1}: ${found[i]} and ${loss}`);
  }
}

/** The process id of a rank that runs in a folder. */
function processOf(rank: number, folder: string): number {
  const isRank = (pid: string) => {
    try {
      const isOurs = readlinkSync(`/proc/${pid}/cwd`) === folder;
      const env = readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");
      return (
        isOurs &&
        env.some((entry) => /^(OMPI_COMM_WORLD|PMI)_RANK=/.test(entry) && entry.endsWith(`=${rank}`))
      );
    } catch {
      return false; // the process has ended, or belongs to another user
    }
  };
  return Number(readdirSync("/proc").find((name) => /^\d+$/.test(name) && isRank(name)));
}

for (const { name, skip, launcher, flags } of MPIS) {
  const options = { ...TIMEOUT, skip };
  const mpirun = [launcher, "-n", "2", ...flags];

  test(
    `${name}: two ranks are equivalent to one that accumulates, and equal two over shared memory bit for bit`,
    options,
    async () => {
      const { stderr } = await workspace.run([...SHORT, ...MPI, "--out", name], 0, mpirun);
      assert.match(stderr, new RegExp(`rank 0 of 2 ranks over ${name} [\\d.]+; writing to ${name}\n`));
      assertNear(losses(name), losses("alone"), 1e-5);
      assertSameFiles(workspace.newest(name), workspace.newest("shared"), name);
    },
  );

  test(`${name}: with bf16 on the wire, losses differ slightly`, options, async () => {
    await workspace.run([...SHORT, ...MPI, "--wire", "bf16", "--out", `${name} bf16`], 0, mpirun);
    assertNear(losses(`${name} bf16`), losses("alone"), 1e-3);
    assert.notDeepEqual(losses(`${name} bf16`), losses("alone"));
  });

  test(`${name}: after a rank is killed, the resumed run equals an uninterrupted one`, options, async () => {
    const run = `${name} killed`;
    const job = workspace.start([...LONG, ...MPI, "--out", run], mpirun);
    await job.waitForOutput(/step 50\//);
    const killed = performance.now();
    process.kill(processOf(1, workspace.folder), "SIGKILL");
    // MPICH's mpiexec returns the first status that it sees: that of the killed rank, or that of the other rank, which UCX
    // aborts if it was about to read the killed rank's memory.
    await job.waitForExit(...(name === "MPICH" ? [9, 6] : [137]));
    assert.ok(performance.now() - killed < 10_000);
    assert.match(job.stdout + job.stderr, /signal 9|process_vm_readv.*No such process/);
    await workspace.run([...LONG, ...MPI, "--out", run, "--resume"], 0, mpirun);
    assertSameFiles(workspace.newest(run), workspace.newest("uninterrupted"), run);
    assert.deepEqual(losses(run), losses("uninterrupted"));
  });
}
