import { randomUUID } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { ReflowError } from "../common/errors.ts";
import { codeOf, discard, diskError, readTextIfAny } from "./disk.ts";

interface Holder {
  pid: number;
  /** The start time of the process from /proc, if available: distinguishes it from a later one with the same pid. */
  start?: string;
  host: string;
}

/**
 * Takes the exclusive lock of a run folder, `trainer.lock`, creating the folder if needed. A lock whose process no longer
 * exists, for example after `kill -9`, is taken over.
 *
 * @throws ReflowError `busy` naming the process that holds it, `checkpoint` if the folder cannot be written
 */
export function lockFolder(run: string): { release(): void } {
  const path = join(run, "trainer.lock");
  const draft = `${path}.${randomUUID()}`;
  const self: Holder = { pid: process.pid, start: liveStart(process.pid), host: hostname() };
  // The id makes each lock's text unique, so that a holder can recognise its own.
  const text = JSON.stringify({ ...self, id: randomUUID() });
  try {
    mkdirSync(run, { recursive: true });
  } catch (cause) {
    throw diskError(cause, run);
  }
  try {
    // Written first and then linked, so that no process reads a partial lock.
    writeFileSync(draft, text);
    while (!link(draft, path)) {
      const found = readTextIfAny(path);
      if (found === undefined) continue; // released in the meantime
      refuseIfHeld(path, found, run);
      if (takeOver(draft, path, found, run)) break;
    }
  } catch (cause) {
    throw diskError(cause, path);
  } finally {
    discard(draft);
  }
  return {
    release() {
      if (readTextIfAny(path) === text) unlinkSync(path);
    },
  };
}

/**
 * Replaces the stale lock `found`. Another process may do the same between the check and the replacement, so both happen
 * under a second lock, which is held for microseconds.
 */
function takeOver(draft: string, path: string, found: string, run: string): boolean {
  const guard = `${path}.takeover`;
  if (!link(draft, guard)) {
    const other = readTextIfAny(guard);
    if (other === undefined) return false;
    refuseIfHeld(guard, other, run);
    throw new ReflowError("busy", `${guard} was left by a process that was killed`, `delete ${guard}`);
  }
  try {
    if (readTextIfAny(path) !== found) return false;
    renameSync(draft, path);
    return true;
  } finally {
    unlinkSync(guard);
  }
}

/** Creates `to` as a hard link to `from`, atomically; false if `to` already exists. */
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  }
}

function refuseIfHeld(path: string, text: string, run: string): void {
  const { pid, start, host } = parseHolder(text);
  // Truncated by a power failure, so that its process is gone.
  if (typeof pid !== "number" || typeof host !== "string") return;
  if (host !== hostname()) {
    const help = `wait for it or use another folder; if it no longer runs, delete ${path}`;
    throw new ReflowError("busy", `${run} is in use by process ${pid} on ${host}`, help);
  }
  const now = liveStart(pid);
  if (now === undefined || (start && now && start !== now)) return;
  throw new ReflowError(
    "busy",
    `${run} is in use by process ${pid}`,
    "wait for it, stop it, or use another folder",
  );
}

function parseHolder(text: string): Partial<Holder> {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/** The start time of a live process, "" if the system does not provide it; undefined if there is no such process. */
function liveStart(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) === "ESRCH") return undefined;
  }
  try {
    // Among the fields after the command name in parentheses, the 1st is the state and the 20th the start time.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return "";
  }
}
