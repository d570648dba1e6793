#!/usr/bin/env node
/** The command `reflow` of the published package: `train`, `serve`, or a command of `cli/main.ts`. */
import { fileURLToPath } from "node:url";

const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
const programs: Record<string, string> = { train: "../trainer/main", serve: "../server/main" };
const program = Object.hasOwn(programs, process.argv[2]) ? programs[process.argv[2]] : undefined;
const entry = new URL(`${program ?? "./main"}.${extension}`, import.meta.url);
// As if the entry had been started itself: the trainer starts its ranks with the script and arguments it finds here.
process.argv.splice(1, program ? 2 : 1, fileURLToPath(entry));
await import(entry.href);
