/** Checks that every command and flag that README.md and the documentation mention exists. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const pages = [
  "README.md",
  "CONTRIBUTING.md",
  ...[...new Bun.Glob("docs/*.md").scanSync({ cwd: root })].sort(),
  "server/model/README.md",
];

/** Entry files of the commands, as they are written in the documentation. */
const ENTRIES: Record<string, string> = {
  "bun run cli": "cli/main.ts",
  "bun run trainer": "trainer/main.ts",
  "bun trainer/main.ts": "trainer/main.ts",
  "bun run server": "server/main.ts",
};
const MENTION = new RegExp(`(${Object.keys(ENTRIES).join("|")})\\b([^\`\\n]*)`, "g");
const PLACEHOLDER = "COMMAND";

interface Mention {
  /** The mentioned text, for the error. */
  text: string;
  /** Entry file and, for the command line, its command. */
  program: string[];
  flags: string[];
}

function mentions(): Mention[] {
  return pages.flatMap((page) => {
    // A command that continues on the next line is one command.
    const markdown = readFileSync(join(root, page), "utf8").replace(/\\\n\s*/g, " ");
    return [...markdown.matchAll(MENTION)].flatMap(([text, command, rest]) => {
      // Quoted JSON may contain anything.
      const words = rest
        .replace(/'[^']*'?|"[^"]*"?/g, "")
        .replace(/#.*$/, "")
        .trim()
        .split(/\s+/);
      const [name] = words;
      if (command === "bun run cli" && (name === PLACEHOLDER || !/^[a-z-]+$/.test(name))) return [];
      const program =
        command === "bun run cli" && !name.startsWith("-") ? [ENTRIES[command], name] : [ENTRIES[command]];
      return [{ text: `${page}: ${text}`, program, flags: words.filter((word) => /^--[a-z]/.test(word)) }];
    });
  });
}

const help = new Map<string, Promise<string>>();
function helpOf(program: string[]): Promise<string> {
  const key = program.join(" ");
  const known = help.get(key);
  if (known) return known;
  const child = Bun.spawn([process.execPath, ...program, "--help"], {
    cwd: root,
    stdout: "pipe",
    stderr: "ignore",
  });
  const text = child.exited.then(async (code) => (code === 0 ? new Response(child.stdout).text() : ""));
  help.set(key, text);
  return text;
}

test("commands and flags in the documentation exist", async () => {
  const found = mentions();
  expect(found.length).toBeGreaterThan(30);
  const wrong: string[] = [];
  for (const { text, program, flags } of found) {
    const usage = await helpOf(program);
    const isKnown = (flag: string) => new RegExp(`(^|[\\s,])${flag}([\\s,]|$)`, "m").test(usage);
    // For an unknown command the command line prints its general help.
    const isCommand = program.length === 1 || usage.startsWith(`Usage: bun run cli ${program[1]} `);
    if (usage === "" || !isCommand || !flags.every(isKnown)) wrong.push(text);
  }
  expect(wrong).toEqual([]);
}, 120_000);
