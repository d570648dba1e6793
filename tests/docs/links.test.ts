/** Checks that what README.md and the documentation refer to exists: relative links with their anchors, and paths in code. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const pages = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  ...[...new Bun.Glob("docs/**/*.md").scanSync({ cwd: root })].filter(
    (page) => !page.startsWith("docs/api/"),
  ),
].sort();

/** Folders whose names at the start of a path in code mark it as a path of the repository. */
const folders = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !["node_modules", "runs", "dist", ".git"].includes(entry.name))
  .map(({ name }) => name);

/** Files that commands create; they are absent in a fresh clone. */
const GENERATED = ["docs/api", "kernels-as/build"];

const read = (page: string): string => readFileSync(join(root, page), "utf8");
/** Markdown without fenced code blocks, whose contents are not links. */
const prose = (markdown: string): string => markdown.replace(/^```.*?^```$/gms, "");

/** The anchors that GitHub gives a page's headings. */
function anchorsOf(page: string): string[] {
  return [...prose(read(page)).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replace(/ /g, "-"),
  );
}

function brokenLinks(page: string): string[] {
  const links = [...prose(read(page)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link);
  return links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false;
    const [path, anchor] = link.split("#");
    const target = path === "" ? page : join(dirname(page), path);
    if (!existsSync(join(root, target))) return true;
    return anchor !== undefined && !anchorsOf(target).includes(anchor);
  });
}

function missingPaths(page: string): string[] {
  const codes = [...prose(read(page)).matchAll(/`([^`\n]+)`/g)].map(([, code]) => code.replace(/^\.\//, ""));
  return codes.filter((code) => {
    const [first, ...rest] = code.split("/");
    if (rest.length === 0 || !folders.includes(first) || !/^[\w./@-]+$/.test(code)) return false;
    if (GENERATED.some((path) => code.startsWith(path))) return false;
    return !existsSync(join(root, code));
  });
}

for (const page of pages) {
  test(`${page}: relative links lead to files and headings that exist`, () => {
    expect(brokenLinks(page)).toEqual([]);
  });

  test(`${page}: paths in code exist`, () => {
    expect(missingPaths(page)).toEqual([]);
  });
}

test("every page is listed in docs/README.md", () => {
  const index = read("docs/README.md");
  const names = readdirSync(join(root, "docs")).filter(
    (name) => name.endsWith(".md") && name !== "README.md",
  );
  expect(names.filter((name) => !index.includes(`](${name})`))).toEqual([]);
});
