import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parameterSpecs } from "../../../runtime/config/parameter-specs.ts";
import {
  openCheckpoint,
  pruneCheckpoints,
  stepFolder,
  writeCheckpoint,
} from "../../../runtime/formats/checkpoint.ts";
import { f32Entries } from "../../../runtime/formats/checkpoint-tensors.ts";
import { elementsOf } from "../../../runtime/formats/safetensors.ts";
import type { TensorFile } from "../../../runtime/formats/tensor-file.ts";
import { expectError } from "../../support/expect-error.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { randomValues, tinyConfig, writeRandomCheckpoint } from "./random-checkpoint.ts";

const root = temporaryFolder();
chmodSync(root, 0o755); // Some tests save as another user.
let folders = 0;
const newRun = () => join(root, `run${folders++}`);

function wholeTensor(file: TensorFile, name: string): Float32Array {
  const whole = new Float32Array(elementsOf(file.tensors.get(name)!.shape));
  file.readF32(name, (chunk, offset) => whole.set(chunk, offset));
  return whole;
}

describe("a failed save", () => {
  test("does not change an existing checkpoint", async () => {
    const run = newRun();
    await writeRandomCheckpoint(stepFolder(run, 1));
    await expectError(
      () => writeRandomCheckpoint(stepFolder(run, 1), 2),
      "checkpoint",
      /step-00000001 already exists/,
    );
    const other = newRun();
    mkdirSync(other);
    writeFileSync(join(other, "thesis.txt"), "");
    await expectError(() => writeRandomCheckpoint(other), "checkpoint", /already exists/);
    expect(readdirSync(other)).toEqual(["thesis.txt"]);
  });

  test("a save replaces a checkpoint that does not match its manifest", async () => {
    const folder = stepFolder(newRun(), 1);
    await writeRandomCheckpoint(folder);
    truncateSync(join(folder, "model.safetensors"), 10);
    await writeRandomCheckpoint(folder, 3);
    openCheckpoint(folder).close();
  });

  test("leaves nothing behind if the caller throws or writes too little", async () => {
    const run = newRun();
    await writeRandomCheckpoint(stepFolder(run, 1));
    const failing = writeCheckpoint(stepFolder(run, 2), async (files) => {
      files.json("config.json", tinyConfig);
      files.tensors("model.safetensors", f32Entries(tinyConfig));
      throw new Error("the device was lost");
    });
    expect(failing).rejects.toThrow("the device was lost");
    const incomplete = writeCheckpoint(stepFolder(run, 2), (files) => {
      files.tensors("model.safetensors", f32Entries(tinyConfig));
    });
    expect(incomplete).rejects.toThrow('"recipe" is not complete');
    await Promise.allSettled([failing, incomplete]);
    expect(readdirSync(run)).toEqual(["step-00000001"]);
  });

  test("on a full disk reports the cause, removes its folder and keeps older checkpoints", async () => {
    const run = newRun();
    await writeRandomCheckpoint(stepFolder(run, 1));
    for (const full of ["model.safetensors", "config.json"]) {
      const saving = () =>
        writeCheckpoint(stepFolder(run, 2), (files) => {
          // Every write to /dev/full fails with the error of a full disk.
          const staging = readdirSync(run).find((name) => name.startsWith(".step-00000002.tmp-"))!;
          symlinkSync("/dev/full", join(run, staging, full));
          files.json("config.json", tinyConfig);
          const file = files.tensors("model.safetensors", f32Entries(tinyConfig));
          for (const { name, shape } of f32Entries(tinyConfig))
            file.write(name, new Float32Array(elementsOf(shape)));
        });
      const error = await expectError(
        saving,
        "checkpoint",
        /step-00000002 could not be written: no space is left on the disk \(ENOSPC, \d+ MB free\)/,
      );
      expect(error.help).toContain("earlier checkpoints are intact");
      expect(readdirSync(run)).toEqual(["step-00000001"]);
      openCheckpoint(run).close();
    }
  });

  /** The error of a process that saves to `folder`, started by a shell with `limits`. */
  async function errorOfChild(folder: string, limits = "true") {
    const script = join(import.meta.dir, "save.child.ts");
    const child = Bun.spawn(["sh", "-c", `${limits}; exec "$@"`, "sh", process.execPath, script, folder]);
    return JSON.parse(await new Response(child.stdout).text());
  }

  test("without write permission reports the cause", async () => {
    const parent = newRun();
    mkdirSync(parent);
    chmodSync(parent, 0o555);
    expect(await errorOfChild(join(parent, "x"))).toEqual({
      code: "checkpoint",
      message: expect.stringMatching(/x could not be written: permission to write is denied/),
    });
    chmodSync(parent, 0o755);
    expect(readdirSync(parent)).toEqual([]);
  });

  test("reports the cause of a partial write", async () => {
    const parent = newRun();
    mkdirSync(parent);
    chmodSync(parent, 0o777);
    // At the limit on file sizes the system writes a part first, and fails at the next write.
    expect(await errorOfChild(join(parent, "x"), "trap '' XFSZ; ulimit -f 16")).toEqual({
      code: "checkpoint",
      message: expect.stringMatching(/x could not be written: the file exceeds the allowed size/),
    });
    expect(readdirSync(parent)).toEqual([]);
  });

  test("reports a file that cannot be read", async () => {
    const folder = newRun();
    await writeRandomCheckpoint(folder);
    rmSync(join(folder, "manifest.json"));
    mkdirSync(join(folder, "manifest.json"));
    await expectError(
      () => openCheckpoint(folder),
      "format",
      /manifest\.json could not be opened \(EISDIR\)/,
    );
  });

  test("leaves a loadable last checkpoint if the process is killed", async () => {
    const run = newRun();
    let last = 0;
    let interrupted = 0;
    for (let round = 0; round < 6; round++) {
      const child = Bun.spawn(
        [process.execPath, join(import.meta.dir, "save-loop.child.ts"), run, String(last)],
        {
          stdout: "pipe",
          stderr: "inherit",
        },
      );
      await child.stdout.getReader().read(); // The first save is complete.
      await Bun.sleep(7 * round);
      child.kill("SIGKILL");
      await child.exited;
      interrupted += readdirSync(run).filter((name) => name.startsWith(".")).length;
      const checkpoint = openCheckpoint(run);
      const { step } = checkpoint.readJson("trainer.json") as { step: number };
      expect(step).toBeGreaterThan(last);
      expect(checkpoint.folder).toBe(stepFolder(run, step));
      for (const { name, shape } of parameterSpecs(tinyConfig)) {
        expect(wholeTensor(checkpoint.tensors, name)).toEqual(randomValues(elementsOf(shape), step));
      }
      checkpoint.close();
      last = step;
    }
    // The child saves all the time, so that most kills must interrupt a save; otherwise the test is meaningless.
    expect(interrupted).toBeGreaterThan(0);
    pruneCheckpoints(run, 1);
    expect(readdirSync(run)).toEqual([`step-${String(last).padStart(8, "0")}`]);
  });
});
