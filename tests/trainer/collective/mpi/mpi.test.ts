/** Real jobs of real launchers, two or four processes each on this machine. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../../support/temporary.ts";
import { HOST, type Launched, MPIS } from "./mpirun.ts";

const CHILD = join(import.meta.dirname, "mpi.child.ts");
const TIMEOUT = { timeout: 60_000 };

/** All ranks have to know them. */
const randomLengths = () => Array.from({ length: 8 }, () => `${Math.floor(10 ** (6 * Math.random()))}`);

const assertDone = ({ status, stdout, stderr }: Launched, world: number) => {
  assert.equal(status, 0, stderr + stdout);
  assert.equal(stdout.match(/: done$/gm)?.length, world, stderr + stdout);
};

for (const { name, skip, run } of MPIS) {
  const options = { ...TIMEOUT, skip };

  for (const world of [2, 4]) {
    test(
      `${name}: sums of ${world} ranks are those of adding in the order of ranks, bit for bit`,
      options,
      async () => {
        const job = await run(world, [CHILD, "sums", "f32", ...randomLengths()]);
        assertDone(job, world);
        assert.match(job.stdout, new RegExp(`rank 1 of ${world} ranks over ${name} [\\d.]+: done`));
      },
    );
  }

  test(`${name}: so are those of bf16 on the wire, rounded before and after`, options, async () => {
    const job = await run(3, [CHILD, "sums", "bf16", ...randomLengths()]);
    assertDone(job, 3);
    assert.match(job.stdout, /rank 1 of 3 ranks over .*, bf16 on the wire: done/);
  });

  test(`${name}: signals and timers arrive while a rank waits`, options, async () => {
    assertDone(await run(2, [CHILD, "signals"]), 2);
  });

  test(`${name}: a trap of WebAssembly is still an exception`, options, async () => {
    assertDone(await run(2, [CHILD, "traps"]), 2);
  });

  const failures: [scene: string, what: string, says: RegExp][] = [
    ["abort", "says why it ends the job", /^rank 1 on \S+ ends the job: the disk is full$/m],
    ["throw", "fails in its own way", /something unforeseen/],
    [
      "exit",
      "leaves early, as if all was well",
      /^rank 1 on \S+ ends the job: its process exits with status 0$/m,
    ],
    ["killed", "is killed", /signal 9/],
    ["lengths", "sums another number of values", /^error: rank \d waited 1 s for rank \d in an all-reduce$/m],
    ["stopped", "is stopped", /^error: rank 0 waited 1 s for rank 1 in an all-reduce$/m],
  ];
  for (const [scene, what, says] of failures) {
    test(`${name}: a rank that ${what} brings the job down`, options, async () => {
      const job = await run(2, [CHILD, scene]);
      assert.notEqual(job.status, 0, job.stderr);
      assert.match(job.stderr + job.stdout, says);
      assert.doesNotMatch(job.stdout, /done/);
      assert.ok(job.seconds < 10, `it took ${job.seconds} s`);
    });
  }

  test(`${name}: one rank is a job, too`, options, async () => {
    assertDone(await run(1, [CHILD, "sums"]), 1);
  });
}

const [openMpi, mpich] = MPIS;

// Deno's tasks hand on what they inherit.
if ("Bun" in globalThis) {
  const script = JSON.stringify({ scripts: { rank: `${HOST.join(" ")} ${CHILD} traps` } });
  const cwd = temporaryFolder({ "package.json": script });

  test(`${openMpi.name}: ranks may be started by bun run`, { ...TIMEOUT, skip: openMpi.skip }, async () => {
    assertDone(await openMpi.run(2, ["run", "rank"], { cwd }), 2);
  });

  test(`${mpich.name}: so they may with -pmi-port`, { ...TIMEOUT, skip: mpich.skip }, async () => {
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
  const what = `the library of ${library.name} in a job of ${launcher.name} is refused`;
  test(what, { ...TIMEOUT, skip: missing }, async () => {
    const job = await launcher.run(2, [CHILD, "sums"], { env: { REFLOW_MPI_LIBRARY: file } });
    assert.equal(job.status, 2, job.stderr);
    const says = `usage: ${launcher.name}'s mpirun started 2 processes, of which ${library.name} [\\d.]+ sees one`;
    assert.match(job.stderr, new RegExp(says));
    assert.match(job.stderr, /help: start with the mpirun of that library/);
  });
}

/** A rank that doesn't get as far as to join. */
function mustRefuse(env: NodeJS.ProcessEnv, says: RegExp, help: RegExp): void {
  const [program, ...args] = [...HOST, CHILD, "sums"];
  const { status, stderr } = spawnSync(program, args, { encoding: "utf8", env: { ...process.env, ...env } });
  assert.equal(status, 2, stderr);
  assert.match(stderr, says);
  assert.match(stderr, help);
}

test("a job without a launcher is refused", () => {
  mustRefuse(
    {},
    /^usage: --collective mpi needs an MPI launcher, and none started this process$/m,
    /^help: mpirun -n 4/m,
  );
});

for (const [file, reason] of [
  ["/nowhere/libmpi.so", /No such file/],
  ["libm.so.6", /MPI_\w+/],
] as const) {
  test(`REFLOW_MPI_LIBRARY=${file} is refused`, () => {
    const env = { PMI_RANK: "0", PMI_SIZE: "1", REFLOW_MPI_LIBRARY: file };
    mustRefuse(
      env,
      new RegExp(`^usage: REFLOW_MPI_LIBRARY is ${file}: .*${reason.source}`, "m"),
      /^help: give the path/m,
    );
  });
}
