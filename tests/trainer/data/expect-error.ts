import { expect } from "bun:test";
import { type ErrorCode, ReflowError } from "../../../runtime/common/errors.ts";

/** Asserts that a function fails with a ReflowError of the given code. Resolves to its message and help as one text. */
export async function errorText(code: ErrorCode, run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    expect(error).toBeInstanceOf(ReflowError);
    const { code: found, message, help } = error as ReflowError;
    expect(found).toBe(code);
    return `${message}\n${help}`;
  }
  throw new Error(`expected a ReflowError with code ${code}`);
}
