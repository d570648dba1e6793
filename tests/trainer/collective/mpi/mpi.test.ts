/** Jobs of real MPI launchers, with one to four processes on this machine. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { SCRIPT_COMMAND } from "../../../../runtime/host/child-process.ts";
import { temporaryFolder } from "../../../support/temporary.ts";
import { type Launched, MPIS } from "./mpirun.ts";

const CHILD = join(import.meta.dirname, "mpi.child.ts");
const TIMEOUT = { timeout: 60_000 };

/** Random lengths, passed to all ranks. */
const randomLengths = () => Array.from({ length: 8 }, () => `${Math.floor(10 ** (6 * Math.random()))}`);

const assertDone = ({ status, stdout, stderr }: Launched, world: number) => {
  assert.equal(status, 0, stderr + stdout);
  assert.equal(stdout.match(/: done$/gm)?.length, world, stderr + stdout);
};

for (const { name, skip, run } of MPIS) {
  const options = { ...TIMEOUT, skip };

  for (const world of [2, 4]) {
    test(`${name}: ${world} ranks sum in rank order, bit for bit`, options, async () => {
      const job = await run(world, [CHILD, "sums", "f32", ...randomLengths()]);
      assertDone(job, world);
      assert.match(job.stdout, new RegExp(`rank 1 of ${world} ranks over ${name} [\\d.]+: done`));
    });
  }

  test(`${name}: with bf16 on the wire, values are rounded before and after the sum`, options, async () => {
    const job = await run(3, [CHILD, "sums", "bf16", ...randomLengths()]);
    assertDone(job, 3);
    assert.match(job.stdout, /rank 1 of 3 ranks over .*, bf16 on the wire: done/);
  });

  test(`${name}: signals and timers arrive while a rank waits`, options, async () => {
    assertDone(await run(2, [CHILD, "signals"]), 2);
  });

  test(`${name}: a WebAssembly trap is still an exception`, options, async () => {
    assertDone(await run(2, [CHILD, "traps"]), 2);
  });

  const failures: [scene: string, what: string, says: RegExp][] = [
    ["abort", "aborts with a reason", /^rank 1 on \S+ ends the job: the disk is full$/m],
    ["throw", "throws an unexpected error", /something unforeseen/],
    ["exit", "exits early with status 0", /^rank 1 on \S+ ends the job: its process exits with status 0$/m],
    ["killed", "is killed", /signal 9/],
    ["lengths", "sums another number of values", /^error: rank \d waited 1 s for rank \d in an all-reduce$/m],
    ["stopped", "is stopped", /^error: rank 0 waited 1 s for rank 1 in an all-reduce$/m],
  ];
  for (const [scene, what, says] of failures) {
    test(`${name}: a rank that ${what} ends the job`, options, async () => {
      const job = await run(2, [CHILD, scene]);
      assert.notEqual(job.status, 0, job.stderr);
      assert.match(job.stderr + job.stdout, says);
      assert.doesNotMatch(job.stdout, /done/);
      assert.ok(job.seconds < 10, `it took ${job.seconds} s`);
    });
  }

  test(`${name}: a job may have a single rank`, options, async () => {
    assertDone(await run(1, [CHILD, "sums"]), 1);
  });
}

const [openMpi, mpich] = MPIS;

// Deno's tasks keep inherited file descriptors open.
if ("Bun" in globalThis) {
  const script = JSON.stringify({ scripts: { rank: `${SCRIPT_COMMAND.join(" ")} ${CHILD} traps` } });
  const cwd = temporaryFolder({ "package.json": script });

  test(`${openMpi.name}: ranks may be started by bun run`, { ...TIMEOUT, skip: openMpi.skip }, async () => {
    assertDone(await openMpi.run(2, ["run", "rank"], { cwd }), 2);
  });

  test(`${mpich.name}: with -pmi-port, ranks may be started by bun run`, {
    ...TIMEOUT,
    skip: mpich.skip,
  }, async () => {
    assertDone(await mpich.run(2, ["run", "rank"], { cwd, flags: ["-pmi-port"] }), 2);
    const job = await mpich.run(2, ["run", "rank"], { cwd });
    assert.equal(job.status, 2, job.stderr);
    assert.match(job.stderr, /usage: the MPI launcher's connection to this process is closed/);
  });
}

const missing = MPIS.map(({ skip }) => skip).find(Boolean) ?? false;
for (const [launcher, library, file] of [
  [openMpi, mpich, "libmpich.so.12"],
  [mpich, openMpi, "libmpi.so.40"],
] as const) {
  const what = `the library of ${library.name} in a job of ${launcher.name} is an error`;
  test(what, { ...TIMEOUT, skip: missing }, async () => {
    const job = await launcher.run(2, [CHILD, "sums"], { env: { REFLOW_MPI_LIBRARY: file } });
    assert.equal(job.status, 2, job.stderr);
    const says = `usage: ${launcher.name}'s mpirun started 2 processes, but ${library.name} [\\d.]+ sees only one`;
    assert.match(job.stderr, new RegExp(says));
    assert.match(job.stderr, /help: use the mpirun of that library/);
  });
}

/** Asserts that a rank fails before it joins a job. */
function assertJoinFails(env: NodeJS.ProcessEnv, says: RegExp, help: RegExp): void {
  const [program, ...args] = [...SCRIPT_COMMAND, CHILD, "sums"];
  const { status, stderr } = spawnSync(program, args, { encoding: "utf8", env: { ...process.env, ...env } });
  assert.equal(status, 2, stderr);
  assert.match(stderr, says);
  assert.match(stderr, help);
}

test("a job without a launcher is an error", () => {
  assertJoinFails(
    {},
    /^usage: --collective mpi requires an MPI launcher, but none started this process$/m,
    /^help: run mpirun -n 4/m,
  );
});

for (const [file, reason] of [
  ["/nowhere/libmpi.so", /No such file/],
  ["libm.so.6", /MPI_\w+/],
] as const) {
  test(`REFLOW_MPI_LIBRARY=${file} is an error`, () => {
    const env = { PMI_RANK: "0", PMI_SIZE: "1", REFLOW_MPI_LIBRARY: file };
    assertJoinFails(
      env,
      new RegExp(`^usage: REFLOW_MPI_LIBRARY is ${file}: .*${reason.source}`, "m"),
      /^help: set it to the path/m,
    );
  });
}
