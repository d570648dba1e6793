import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { lockFolder } from "../../../runtime/formats/lock.ts";
import { expectError } from "../../support/expect-error.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const root = temporaryFolder();
let folders = 0;
const newRun = () => join(root, `run${folders++}`);

/** A process that locks `runs`, the first at the time `begin`, and the result for each run. */
async function startChild(runs: string[], begin = 0) {
  const script = join(import.meta.dir, "lock.child.ts");
  const child = Bun.spawn([process.execPath, script, String(begin), ...runs], { stderr: "inherit" });
  const { value } = await child.stdout.getReader().read();
  return { child, said: new TextDecoder().decode(value).trim().split(",") };
}

function newRunWithLock(holder: unknown): string {
  const run = newRun();
  mkdirSync(run);
  writeFileSync(join(run, "trainer.lock"), typeof holder === "string" ? holder : JSON.stringify(holder));
  return run;
}

test("the lock has one holder at a time and can be released", async () => {
  const run = newRun();
  const lock = lockFolder(run);
  expect(readdirSync(run)).toEqual(["trainer.lock"]);
  await expectError(() => lockFolder(run), "busy", new RegExp(`in use by process ${process.pid}$`));
  const { child, said } = await startChild([run]);
  expect(said).toEqual(["busy"]);
  child.kill("SIGKILL");
  lock.release();
  expect(readdirSync(run)).toEqual([]);
  lock.release();
  const again = lockFolder(run);
  lock.release(); // has no effect: it is no longer the holder
  expect(existsSync(join(run, "trainer.lock"))).toBe(true);
  again.release();
});

test("a held lock names its process, and is taken over once that process is killed", async () => {
  const run = newRun();
  const { child, said } = await startChild([run]);
  expect(said).toEqual(["locked"]);
  await expectError(() => lockFolder(run), "busy", new RegExp(`process ${child.pid}$`));
  child.kill("SIGKILL");
  await child.exited;
  const lock = lockFolder(run);
  expect(JSON.parse(readFileSync(join(run, "trainer.lock"), "utf8")).pid).toBe(process.pid);
  expect(readdirSync(run)).toEqual(["trainer.lock"]);
  lock.release();
});

test("exactly one of several processes takes over a stale lock", async () => {
  const dead = Bun.spawn(["true"]);
  await dead.exited;
  const runs = Array.from({ length: 50 }, () => newRunWithLock({ pid: dead.pid, host: hostname() }));
  const begin = Date.now() + 150;
  const children = await Promise.all(Array.from({ length: 3 }, () => startChild(runs, begin)));
  for (const { child } of children) child.kill("SIGKILL");
  for (const [i, run] of runs.entries()) {
    expect(children.map(({ said }) => said[i]).sort()).toEqual(["busy", "busy", "locked"]);
    expect(readdirSync(run)).toEqual(["trainer.lock"]);
  }
});

test("the lock of a zombie process is taken over", async () => {
  // The process outlives the shell, because the shell itself may reap one that ends before `exec`.
  const parent = Bun.spawn(["sh", "-c", "sleep 0.3 & echo $!; exec sleep 60"]);
  const { value } = await parent.stdout.getReader().read();
  const pid = Number(new TextDecoder().decode(value));
  while (readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1][0] !== "Z") await Bun.sleep(1);
  lockFolder(newRunWithLock({ pid, host: hostname() })).release();
  parent.kill();
});

test("a lock whose pid was reused by a later process is taken over", () => {
  const run = newRunWithLock({ pid: process.pid, start: "1", host: hostname() });
  lockFolder(run).release();
});

test("an invalid lock file is taken over", () => {
  for (const text of ["", "null", "{", "[]", '{"pid":"1"}']) lockFolder(newRunWithLock(text)).release();
});

test("a lock of another machine and an interrupted takeover are left alone", async () => {
  const far = newRunWithLock({ pid: 1, host: "elsewhere" });
  const error = await expectError(() => lockFolder(far), "busy", /process 1 on elsewhere/);
  expect(error.help).toContain(join(far, "trainer.lock"));
  const run = newRunWithLock("");
  writeFileSync(join(run, "trainer.lock.takeover"), "");
  await expectError(() => lockFolder(run), "busy", /takeover was left by a process that was killed/);
  expect(readdirSync(run).sort()).toEqual(["trainer.lock", "trainer.lock.takeover"]);
});

test("a folder that cannot be created is reported", async () => {
  const file = newRun();
  writeFileSync(file, "");
  await expectError(() => lockFolder(join(file, "run")), "checkpoint", /could not be written.*ENOTDIR/);
});
