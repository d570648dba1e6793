import { expect } from "bun:test";
import { type ErrorCode, ReflowError } from "../../runtime/common/errors.ts";

/** Asserts that `action` throws a ReflowError with this code and a matching message, and returns it. */
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
  throw new Error(`nothing was thrown: expected ${code} ${message}`);
}
