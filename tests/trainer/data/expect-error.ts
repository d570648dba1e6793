import { expect } from "bun:test";
import { type ErrorCode, ReflowError } from "../../../runtime/common/errors.ts";

/** Runs what must fail with a ReflowError, and gives its message and help as one text. */
export async function refusal(code: ErrorCode, run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    expect(error).toBeInstanceOf(ReflowError);
    const { code: found, message, help } = error as ReflowError;
    expect(found).toBe(code);
    return `${message}\n${help}`;
  }
  throw new Error("it was not refused");
}
