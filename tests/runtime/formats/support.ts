import { afterAll, expect } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ErrorCode, ReflowError } from "../../../runtime/errors.ts";

/** A new folder, removed when the test file ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "reflow-formats-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** What `action` throws, which must be a ReflowError of this code whose message matches. */
export async function expectError(
  action: () => unknown,
  code: ErrorCode,
  message: RegExp,
): Promise<ReflowError> {
  try {
    await action();
  } catch (error) {
    expect(error).toBeInstanceOf(ReflowError);
    const reflowError = error as ReflowError;
    expect(reflowError.message).toMatch(message);
    expect(reflowError.code).toBe(code);
    expect(reflowError.help).toBeString();
    return reflowError;
  }
  throw new Error(`nothing was thrown, expected ${code} ${message}`);
}
