import assert from "node:assert/strict";
import { test } from "node:test";
import { ReflowError } from "../../../../runtime/common/errors.ts";
import { findLauncher } from "../../../../trainer/collective/mpi/launcher.ts";

const step = { SLURM_STEP_ID: "0", SLURM_STEP_NUM_TASKS: "8" };

test("the launcher is detected from the environment", () => {
  const cases: [env: Record<string, string>, name: string, world: number | undefined, first: string][] = [
    [{ OMPI_COMM_WORLD_SIZE: "4", PMIX_RANK: "0" }, "Open MPI's mpirun", 4, "libmpi.so.40"],
    [{ PMI_RANK: "1", PMI_SIZE: "2" }, "MPICH's mpirun", 2, "libmpich.so.12"],
    [{ ...step, PMI_RANK: "1", PMI_SIZE: "8" }, "srun", 8, "libmpich.so.12"],
    [{ ...step, PMIX_RANK: "3" }, "srun", 8, "libmpi.so.40"],
    [{ PMIX_RANK: "3" }, "a PMIx launcher", undefined, "libmpi.so.40"],
    // mpirun within a Slurm allocation.
    [{ ...step, OMPI_COMM_WORLD_SIZE: "16", PMIX_RANK: "0" }, "Open MPI's mpirun", 16, "libmpi.so.40"],
  ];
  for (const [env, name, world, first] of cases) {
    const found = findLauncher(env);
    assert.deepEqual([found.name, found.world, found.libraries[0]], [name, world, first]);
  }
});

test("incompatible libraries are not tried", () => {
  assert.ok(!findLauncher({ OMPI_COMM_WORLD_SIZE: "2" }).libraries.includes("libmpich.so.12"));
  assert.ok(!findLauncher({ PMI_RANK: "0", PMI_SIZE: "2" }).libraries.includes("libmpi.so.40"));
});

test("srun without PMI is not a launcher", () => {
  const error = { code: "usage", help: /srun --mpi=pmix/ };
  assert.throws(
    () => findLauncher(step),
    (e) => e instanceof ReflowError && e.code === error.code && error.help.test(e.help!),
  );
});
