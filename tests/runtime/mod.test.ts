import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";

const transpiler = new Bun.Transpiler({ loader: "ts" });

/** All modules that a module imports statically, directly or indirectly; dynamic `import()` is excluded. */
function staticImports(module: URL, found = new Set<string>()): Set<string> {
  for (const { path, kind } of transpiler.scanImports(readFileSync(module, "utf8"))) {
    if (kind !== "import-statement") continue;
    const imported = path.startsWith(".") ? new URL(path, module).href : path;
    if (found.has(imported)) continue;
    found.add(imported);
    if (path.startsWith(".")) staticImports(new URL(imported), found);
  }
  return found;
}

test("the public API imports no node: modules and only known packages, so that browsers can load it", () => {
  const imports = [...staticImports(new URL("../../runtime/mod.ts", import.meta.url))];
  expect(imports.filter((path) => !path.startsWith("file:")).sort()).toEqual([
    "fastest-levenshtein",
    "valibot",
  ]);
  expect(imports.length).toBeGreaterThan(10);
});
