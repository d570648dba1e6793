/** The trainer as a job of an MPI launcher. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { test } from "node:test";
import { assertSame, COMMON, timeless, Workplace } from "../../workspace.ts";
import { MPIS } from "./mpirun.ts";

const place = new Workplace();
const TIMEOUT = { timeout: 60_000 };
const COMMAND = [...COMMON, "--device", "wasm", "--batch", "4", "--lr", "1e-3", "--log-every", "1"];
const SHORT = [...COMMAND, "--steps", "20"];
const LONG = [...COMMAND, "--steps", "120", "--save-every", "20"];
const MPI = ["--collective", "mpi"];

test("what to compare with: one rank, and two over shared memory", TIMEOUT, async () => {
  await place.run([...SHORT, "--world", "1", "--accumulate", "2", "--out", "alone"]);
  await place.run([...SHORT, "--world", "2", "--out", "shared"]);
  await place.run([...LONG, "--world", "2", "--out", "uninterrupted"]);
});

const losses = (run: string) => timeless(place.metrics(run)).flatMap(({ loss }) => loss ?? []);

function assertNear(found: number[], expected: number[], relative: number): void {
  assert.equal(found.length, expected.length);
  for (const [i, loss] of expected.entries()) {
    assert.ok(Math.abs(found[i] - loss) <= relative * loss, `step ${i + 1}: ${found[i]} and ${loss}`);
  }
}

/** The process of a rank in a folder. */
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
      return false; // Not ours to see, or gone.
    }
  };
  return Number(readdirSync("/proc").find((name) => /^\d+$/.test(name) && isRank(name)));
}

for (const { name, skip, launcher, flags } of MPIS) {
  const options = { ...TIMEOUT, skip };
  const mpirun = [launcher, "-n", "2", ...flags];

  test(
    `${name}: two ranks are one that accumulates, and to the bit what they are over shared memory`,
    options,
    async () => {
      const { stderr } = await place.run([...SHORT, ...MPI, "--out", name], 0, mpirun);
      assert.match(stderr, new RegExp(`the first of 2 ranks over ${name} [\\d.]+; writing to ${name}\n`));
      assertNear(losses(name), losses("alone"), 1e-5);
      assertSame(place.newest(name), place.newest("shared"), name);
    },
  );

  test(`${name}: with bf16 on the wire, nearly so`, options, async () => {
    await place.run([...SHORT, ...MPI, "--wire", "bf16", "--out", `${name} bf16`], 0, mpirun);
    assertNear(losses(`${name} bf16`), losses("alone"), 1e-3);
    assert.notDeepEqual(losses(`${name} bf16`), losses("alone"));
  });

  test(`${name}: a rank is killed; resumed, the run is what it would have been`, options, async () => {
    const run = `${name} killed`;
    const job = place.start([...LONG, ...MPI, "--out", run], mpirun);
    await job.says(/step 50\//);
    const killed = performance.now();
    process.kill(processOf(1, place.folder), "SIGKILL");
    // Of MPICH it is the status that mpiexec sees first: the killed rank's, or that of the other, if it was about to read the
    // killed one's memory. UCX aborts it then.
    await job.ends(...(name === "MPICH" ? [9, 6] : [137]));
    assert.ok(performance.now() - killed < 10_000);
    assert.match(job.stdout + job.stderr, /signal 9|process_vm_readv.*No such process/);
    await place.run([...LONG, ...MPI, "--out", run, "--resume"], 0, mpirun);
    assertSame(place.newest(run), place.newest("uninterrupted"), run);
    assert.deepEqual(losses(run), losses("uninterrupted"));
  });
}
