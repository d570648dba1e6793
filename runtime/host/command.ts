import { type Command, CommanderError, InvalidArgumentError } from "commander";
import { ReflowError } from "../common/errors.ts";

/** Writes a line for the user to standard error. (Bun prints `console.error` in red, which is for errors.) */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/**
 * Runs a command line, then exits the process. Errors that the user can correct print two lines without a stack trace, and
 * exit with status 2; a failed job of several processes exits with status 1. For an unknown flag or command, Commander
 * suggests the nearest one.
 */
export async function runCommand(command: Command): Promise<void> {
  for (const each of [command, ...command.commands])
    each.exitOverride().showHelpAfterError("(--help lists all flags)");
  // A reader that closes the pipe early, such as `head`, is not an error.
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
  // Exits explicitly, since in Deno a sleeping thread would keep the process alive. Before that, all output must have been
  // written: in Bun, only `end` waits until a slow reader has received it.
  await new Promise<void>((resolve) => process.stdout.end(resolve));
  process.exit();
}

/** Parses the value of a flag that takes a number. Its range is checked with the settings. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || Number.isNaN(value)) throw new InvalidArgumentError("Expected a number.");
  return value;
}

/** Parses the value of a flag that takes a number or the given word. */
export const numberOr =
  (word: string) =>
  (text: string): number | string =>
    text === word ? text : number(text);
