/** Collects the licenses that copies of a bundle must include. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * The project's license, and those of the packages in a bundle.
 *
 * @param maps source maps of the bundled scripts
 * @throws Error if a package has no license file
 */
export function licensesOf(maps: readonly string[]): string {
  const sources = maps.flatMap((map): string[] => JSON.parse(map).sources);
  const packages = sources.flatMap(
    (source) => source.match(/node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+\//)?.[0] ?? [],
  );
  return ["", ...new Set(packages.sort())].map(licenseIn).join(`\n${"-".repeat(80)}\n\n`);
}

/** @param path path of a package, relative to the project's folder */
function licenseIn(path: string): string {
  const folder = join(root, path);
  const file = readdirSync(folder).find((name) => /^licen[cs]e(\.(md|txt))?$/i.test(name));
  if (!file)
    throw new Error(`${folder} has no license file, so a bundle that contains it cannot be distributed`);
  const { name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
}
