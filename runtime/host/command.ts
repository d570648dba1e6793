import { type Command, CommanderError, InvalidArgumentError } from "commander";
import { ReflowError } from "../common/errors.ts";

/** A line for people, beside the output proper. (Bun prints `console.error` in red, which is for errors.) */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/**
 * Runs a command line to its end, and the process with it. What users can mend ends with status 2 and two lines, without
 * a stack trace; a job of several processes that failed, with status 1. Commander suggests the nearest flag or command for one that it doesn't know.
 */
export async function runCommand(command: Command): Promise<void> {
  for (const each of [command, ...command.commands])
    each.exitOverride().showHelpAfterError("(--help lists all flags)");
  // A reader that has seen enough, as `| head` has, is nobody's error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit();
  });
  try {
    await command.parseAsync(process.argv);
  } catch (error) {
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2);
    if (!(error instanceof ReflowError)) throw error;
    console.error(`error: ${error.message}`);
    if (error.help) console.error(`help:  ${error.help}`);
    process.exit(error.code === "job" ? 1 : 2);
  }
  // A sleeping thread must not hold the process, as in Deno it does, nor may the end of the output be lost: in Bun only
  // `end` waits until a slow reader has it all.
  await new Promise<void>((resolve) => process.stdout.end(resolve));
  process.exit();
}

/** For flags that take a number; its bounds are checked where the settings are. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || Number.isNaN(value)) throw new InvalidArgumentError("A number was expected.");
  return value;
}

/** For flags that take a number or a word. */
export const numberOr =
  (word: string) =>
  (text: string): number | string =>
    text === word ? text : number(text);
