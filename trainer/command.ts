import { type Command, CommanderError, InvalidArgumentError } from "commander";
import { ReflowError } from "../runtime/errors.ts";

/**
 * Runs a command line to its end. What users can mend ends with status 2 and two lines, without a stack trace.
 * Commander suggests the nearest flag or command for one that it doesn't know.
 */
export async function runCommand(command: Command): Promise<void> {
  for (const each of [command, ...command.commands])
    each.exitOverride().showHelpAfterError("(--help lists all flags)");
  try {
    await command.parseAsync(process.argv);
  } catch (error) {
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2);
    if (!(error instanceof ReflowError)) throw error;
    console.error(`error: ${error.message}`);
    if (error.help) console.error(`help:  ${error.help}`);
    process.exit(2);
  }
}

/** For flags that take a number; its bounds are checked where the settings are. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || Number.isNaN(value)) throw new InvalidArgumentError("A number was expected.");
  return value;
}
