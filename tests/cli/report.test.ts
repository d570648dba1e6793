import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import type { Browser } from "playwright-core";
import { Strip, standing } from "../../cli/report/claims.ts";
import { renderComparison } from "../../cli/report/compare.ts";
import { renderFigure } from "../../cli/report/figure.ts";
import { markup } from "../../cli/report/html.ts";
import { pText, short } from "../../cli/report/numbers.ts";
import { renderReport } from "../../cli/report/report.ts";
import { encodeResults, type Results, readResults } from "../../cli/report/results.ts";
import { extent, linear, logarithmic } from "../../cli/report/scale.ts";
import { table } from "../../cli/report/table.ts";
import { checkFolder, writeFiles } from "../../cli/report/write.ts";
import type { Figure } from "../../runtime/probes/figure.ts";
import { launchChromium, noChromium } from "../browser/chromium.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { FIGURES, HOSTILE, RESULTS, WIDE_HEATMAP } from "./report-fixture.ts";

const report = renderReport(RESULTS);
const both = [
  { name: "runs/a/probes", results: RESULTS },
  { name: HOSTILE, results: { ...RESULTS, results: RESULTS.results.slice(0, 3) } },
] as const;
const comparison = renderComparison(both);

/** The elements of a piece of markup, in order; throws where it isn't well-formed XML. */
function parse(text: string): { name: string; attributes: Record<string, string>; text: string }[] {
  const elements: { name: string; attributes: Record<string, string>; text: string }[] = [];
  const open: (typeof elements)[number][] = [];
  const pattern = /<(\/?)([a-z]\w*)((?: [\w-]+="[^"<]*")*)(\/?)>|([^<]+)/gy;
  let end = 0;
  for (const [whole, closing, name, attributes, alone, content] of text.matchAll(pattern)) {
    end += whole.length;
    if (content !== undefined) {
      expect(content.replace(/&(amp|lt|gt|quot|#39);/g, "")).not.toContain("&");
      for (const element of open) element.text += content;
    } else if (closing) {
      expect(open.pop()?.name).toBe(name);
    } else {
      const pairs = [...attributes.matchAll(/ ([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value]);
      expect(new Set(pairs.map(([key]) => key)).size, whole).toBe(pairs.length);
      const element = { name, attributes: Object.fromEntries(pairs), text: "" };
      elements.push(element);
      if (!alone) open.push(element);
    }
  }
  expect(text.slice(end, end + 80)).toBe("");
  expect(open).toEqual([]);
  return elements;
}

const svgs = (html: string): string[] => html.match(/<svg.*?<\/svg>/gs) ?? [];
/** All numbers of a path, or of another attribute. */
const numbersOf = (text: string): number[] => (text.match(/-?\d+(\.\d+)?/g) ?? []).map(Number);

describe("figures", () => {
  for (const [type, figure] of Object.entries({ ...FIGURES, wide: WIDE_HEATMAP })) {
    test(`${type}: well-formed, with title and caption, and inside its paper`, () => {
      const { text } = renderFigure(figure);
      const elements = parse(text);
      expect(elements[0].name).toBe("figure");
      expect(text).toContain(`<h3>${figure.title}</h3>`);
      expect(text).toContain(figure.caption.replaceAll("'", "’"));
      expect(text).not.toMatch(/NaN|Infinity|undefined|\[object/);
      if (type === "table") return;
      for (const drawing of svgs(text).filter((svg) => svg.includes('role="img"'))) {
        const [paper, ...marks] = parse(drawing);
        const [, , width, height] = numbersOf(paper.attributes.viewBox);
        expect(paper.attributes["aria-label"]).toBe(figure.title);
        for (const { name, attributes } of marks.filter(({ name }) => name === "text")) {
          expect(Number(attributes.x), name).toBeWithin(-1, width + 1);
          expect(Number(attributes.y), name).toBeWithin(-1, height + 1);
        }
      }
    });
  }

  test("lines: points lie where a ruler puts them, chance is dashed and has a band, and few values are ticks", () => {
    const { text } = renderFigure({
      type: "lines",
      title: "t",
      caption: "c",
      x: { label: "k", log: true },
      y: { label: "y", unit: "nats" },
      series: [
        { name: "seen", x: [1, 10, 100], y: [0, 5, 10] },
        { name: "chance", x: [1, 100], y: [2, 2], low: [1, 1], high: [3, 3], isNull: true },
      ],
    });
    const drawing = parse(svgs(text).at(-1)!);
    const [chance, seen] = drawing.filter(({ attributes }) => attributes.class === "line");
    const [x0, y0, x1, y1, x2, y2] = numbersOf(seen.attributes.d);
    expect(x1 - x0).toBeCloseTo(x2 - x1, 0);
    expect(y0 - y1).toBeCloseTo(y1 - y2, 0);
    expect(y0).toBeGreaterThan(y2);
    expect(numbersOf(chance.attributes.d)[1]).toBeCloseTo(y0 + 0.2 * (y2 - y0), 0);
    expect(text).toContain('<g class="null"><path class="band"');
    const labels = drawing.filter(({ name }) => name === "text").map(({ text }) => text);
    for (const label of ["1", "10", "100", "y (nats)", "k"]) expect(labels).toContain(label);
  });

  test("bars: negative values go left of zero, and chance is marked where it is", () => {
    const bar = (name: string, value: number, chance?: number) => ({ name, value, null: chance });
    const figure: Figure = {
      type: "bars",
      title: "t",
      caption: "c",
      y: { label: "y" },
      bars: [bar("up", 1, -1), bar("down", -1)],
    };
    const drawing = parse(svgs(renderFigure(figure).text).at(-1)!);
    const bars = drawing.filter(({ attributes }) => attributes.class === "bar");
    const [[left, , width], [start, , same]] = bars.map(({ attributes }) => numbersOf(attributes.d));
    expect(start + same).toBeCloseTo(left, 0);
    expect(same).toBeCloseTo(width, 0);
    const [mark] = drawing.filter(({ attributes }) => attributes.class === "chance");
    expect(numbersOf(mark.attributes.d)[0]).toBeCloseTo(start, 0);
  });

  test("heatmap: what isn't there is left out, signs have colours, and all cells share the scale", () => {
    const cells = parse(svgs(renderFigure(FIGURES.heatmap).text).at(-1)!).filter(
      ({ attributes }) => attributes["fill-opacity"],
    );
    expect(cells.length).toBe(19);
    expect(cells[4].attributes).toMatchObject({ class: "warm", "fill-opacity": "1" });
    expect(cells[5].attributes["fill-opacity"]).toBe("0.04");
    expect(renderFigure(WIDE_HEATMAP).text).toContain('class="cold"');
  });

  test("the numbers stand in the table", () => {
    const cells = (figure: Figure) =>
      (renderFigure(figure).text.match(/<table.*?<\/table>/gs) ?? [])
        .flatMap(parse)
        .filter(({ name }) => name === "td")
        .map(({ text }) => text);
    expect(cells(FIGURES.bars)).toEqual(
      expect.arrayContaining(["recipes", "0.228", "0.188", "0.267", "−0.118", "embedding", "0.492"]),
    );
    const lines = ["9.125", "7.500", "5.063", "9.750", "128"];
    expect(cells(FIGURES.lines)).toEqual(expect.arrayContaining(lines));
    expect(cells(FIGURES.scatter)).toEqual(expect.arrayContaining(["three", "numbers", "0.700", "0.679"]));
    expect(cells(FIGURES.heatmap)).toEqual(expect.arrayContaining(["0.938", "0.313", "0.063", "0.000"]));
    const { counts } = FIGURES.histogram as Extract<Figure, { type: "histogram" }>;
    const shown = cells(FIGURES.histogram);
    for (const count of counts.filter((count) => count > 0)) expect(shown).toContain(String(count));
  });

  test("whatever the numbers, nothing is drawn at a place that isn't one", () => {
    const value = fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e9, max: 1e9 }),
      fc.constantFrom(0, 1, -1, 1e-12, -1e-12, 1e30, -1e30),
    );
    const name = fc.oneof(fc.string({ unit: "binary" }), fc.constant(HOSTILE));
    const axis = fc.record({ label: name, log: fc.boolean() });
    const titled = { title: name, caption: name };
    const points = fc.array(fc.tuple(value, value, value), { maxLength: 30 });
    const figure: fc.Arbitrary<Figure> = fc.oneof(
      fc.record({
        ...titled,
        type: fc.constant("lines" as const),
        x: axis,
        y: axis,
        series: fc.array(
          fc.tuple(name, points, fc.boolean()).map(([name, points, isNull]) => ({
            name,
            x: points.map(([x]) => x),
            y: points.map(([, y]) => y),
            ...(isNull && { low: points.map(([, y]) => y), high: points.map(([, , high]) => high), isNull }),
          })),
          { maxLength: 4 },
        ),
      }),
      fc.record({
        ...titled,
        type: fc.constant("bars" as const),
        y: axis,
        bars: fc.array(
          fc.tuple(name, value, fc.option(value)).map(([name, value, other]) => ({
            name,
            value,
            ...(other !== null && { low: other, high: value, null: other }),
          })),
          { maxLength: 6 },
        ),
      }),
      fc.record({
        ...titled,
        type: fc.constant("scatter" as const),
        x: axis,
        y: axis,
        points: fc.array(fc.record({ x: value, y: value, label: name, group: name }), { maxLength: 8 }),
      }),
      fc
        .tuple(fc.nat(5), fc.nat(20), fc.array(fc.option(value), { minLength: 1 }))
        .map(([rows, columns, values]) => ({
          ...{ type: "heatmap" as const, title: "t", caption: "c" },
          x: { label: "x" },
          y: { label: "y" },
          value: { label: "v" },
          rows: Array.from({ length: rows }, (_, i) => `row ${i}`),
          columns: Array.from({ length: columns }, (_, i) => `${i}`),
          values: Array.from({ length: rows }, (_, i) =>
            Array.from({ length: columns }, (_, j) => values[(i + j) % values.length]),
          ),
        })),
      fc.record({
        ...titled,
        type: fc.constant("table" as const),
        columns: fc.constant(["a", "b"]),
        rows: fc.array(fc.tuple(fc.oneof(name, value), value), { maxLength: 4 }),
      }),
    );
    fc.assert(
      fc.property(figure, (figure) => {
        const { text } = renderFigure(figure);
        const elements = parse(text);
        expect(elements.some(({ name }) => name === "script" || name === "img")).toBe(false);
        for (const { attributes } of elements) {
          for (const key of ["d", "x", "y", "viewBox"]) expect(attributes[key] ?? "").not.toMatch(/NaN|Inf/);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("numbers and scales", () => {
  test("as people read them", () => {
    const cases: [number, string][] = [
      [0, "0"],
      [0.2281, "0.228"],
      [-0.11844, "−0.118"],
      [14, "14"],
      [7.8634, "7.86"],
      [1234.56, "1235"],
      [7278080, "7,278,080"],
      [-12345.6, "−12,346"],
      [0.0000375, "0.0000375"],
      [3.7e-9, "3.70 × 10⁻⁹"],
      [0.99961, "1.000"],
      [-0.00004, "−0.0000400"],
    ];
    for (const [x, text] of cases) expect(short(x)).toBe(text);
    expect([0.001, 0.022, 0.0994, 0.0996, 0.54, 0.999].map(pText)).toEqual([
      "0.001",
      "0.022",
      "0.099",
      "0.10",
      "0.54",
      "1",
    ]);
  });

  test("ticks", () => {
    const labels = (scale: { ticks: readonly { label: string }[] }) => scale.ticks.map(({ label }) => label);
    expect(labels(linear([0, 1], [0, 100]))).toEqual(["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    expect(labels(linear([-0.2, 0.31], [0, 100], { round: true }))).toEqual([
      "−0.2",
      "−0.1",
      "0.0",
      "0.1",
      "0.2",
      "0.3",
      "0.4",
    ]);
    expect(labels(linear([0, 34567], [0, 100], { round: true }))).toEqual([
      "0",
      "10,000",
      "20,000",
      "30,000",
      "40,000",
    ]);
    expect(labels(logarithmic([0.00003, 1], [0, 1]))).toEqual(["10⁻⁴", "0.001", "0.01", "0.1", "1"]);
    expect(labels(logarithmic([8, 16, 64], [0, 1], { few: 3 }))).toEqual(["8", "16", "64"]);
    expect(labels(logarithmic([3, 60], [0, 1]))).toEqual(["5", "10", "20", "50"]);
    expect(labels(logarithmic([0.5, 1.25], [0, 1], { few: 2 }))).toEqual(["0.5", "1.25"]);
    expect(labels(linear(extent([5, 5 + 1e-15]), [0, 1]))).toEqual(["3", "4", "5", "6", "7"]);
    expect(labels(linear(extent([3.5e-323, 7e-323]), [0, 1]))).toEqual(["−0.4", "−0.2", "0.0", "0.2", "0.4"]);
    expect(logarithmic([1, 100], [0, 10]).at(10)).toBeCloseTo(5, 9);
    expect(logarithmic([1, 100], [0, 10]).at(0)).toBeNaN();
  });

  test("a column of numbers has one number of digits, unless its sizes are too different", () => {
    const column = (...values: number[]) =>
      parse(
        table(
          ["x"],
          values.map((x) => [x]),
        ).text,
      )
        .filter(({ name }) => name === "td")
        .map(({ text }) => text);
    expect(column(0.7551, 0.54, 1)).toEqual(["0.755", "0.540", "1.000"]);
    expect(column(17, 201)).toEqual(["17", "201"]);
    const gap = table(["x"], [[""], [0.25], [12]]).text;
    expect(gap.match(/<td class="n">[^<]*/g)).toEqual([
      '<td class="n">',
      '<td class="n">0.25',
      '<td class="n">12.00',
    ]);
    expect(column(1.79e-9, 0.0371)).toEqual(["1.79 × 10⁻⁹", "0.0371"]);
  });

  test("distance from chance counts on the side that is claimed", () => {
    const [gini, silhouette, , algebra] = RESULTS.certificate.claims;
    expect(standing(gini)).toBeCloseTo(-(0.683 - 0.608) / 0.014, 9); // less was claimed
    expect(standing(silhouette)).toBeCloseTo((0.2281 + 0.1184) / 0.0094, 9);
    expect(standing(algebra)).toBe(Infinity);
    const [inside, beyond] = [silhouette, algebra].map((claim) =>
      Number(parse(new Strip(RESULTS.certificate.claims).row([claim]).text).at(-1)!.attributes.cx),
    );
    expect(beyond).toBe(172);
    expect(inside).toBeWithin(100, 173);
  });
});

describe("the page", () => {
  test("says of each claim what was seen, what chance gives, and whether it holds", () => {
    expect(report).toContain("<strong>3 of 5 claims hold</strong>");
    const text = report.replace(/<[^>]*>/g, "");
    expect(text).toContain(
      "Observed 0.228 (95% interval 0.188 to 0.267); chance – permuted categories, 999 draws – gives −0.118 ± 0.0094. " +
        "That is 37 standard deviations from it. p = 0.001, corrected for 22 claims 0.022.",
    );
    expect(text).toContain("It lies on the other side of chance, where nothing was claimed.");
    expect(text).toContain("Alone it would pass; of so many claims some come this far by luck.");
    expect(text).toContain("All draws gave the same.");
    expect(text).toContain("It does not apply here: an unfactored model has no basis.");
    expect(text).toContain("2 claims were not looked at");
    expect(report.match(/verdict holds/g)!.length).toBe(2 + 3); // in sections, the seeds' having none; in the table
  });

  test("the same results give the same bytes, also after a round through the file", () => {
    expect(renderReport(structuredClone(RESULTS))).toBe(report);
    const file = join(temporaryFolder({ "results.json": encodeResults(RESULTS) }), "results.json");
    // JSON has no lone surrogates' trouble: they are escaped.
    expect(readResults(file)).toEqual(RESULTS);
    expect(renderReport(readResults(file))).toBe(report);
    expect(renderComparison(structuredClone(both) as unknown as typeof both)).toBe(comparison);
  });

  test("text of tokens stays text", () => {
    expect(markup`${HOSTILE}`.text).toBe(
      "&lt;/text&gt;&lt;/td&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&lt;img src=x onerror=&#39;alert(2)&#39;&gt;&amp;amp;" +
        "]]&gt;--&gt;&lt;!-- \ufffd\ufffd\ufffd",
    );
    for (const html of [report, comparison]) {
      expect(html).not.toMatch(/<script|<img|\0|\u202e/);
      expect(html.isWellFormed()).toBe(true);
    }
  });

  test("names nothing outside of itself", () => {
    for (const html of [report, comparison]) {
      expect(html).not.toMatch(/https?:|url\(|@import|srcset|<link rel="stylesheet"/);
    }
  });
});

describe("files", () => {
  test("all are written, or none is, and nothing else is left", () => {
    const root = temporaryFolder({ "there/a.txt": "old", file: "" });
    const there = join(root, "there");
    writeFiles(there, { "a.txt": "new", "b.txt": "b" });
    expect(readFileSync(join(there, "a.txt"), "utf8")).toBe("new");
    expect(readdirSync(there).sort()).toEqual(["a.txt", "b.txt"]);
    writeFiles(join(root, "x/y"), { c: "c" });
    expect(readdirSync(join(root, "x/y"))).toEqual(["c"]);
    mkdirSync(join(there, "folder/inside"), { recursive: true });
    // A folder's name can't be had for a file: nor then may the file before it be changed.
    expect(() => writeFiles(there, { "none/c.txt": "c" })).toThrow();
    expect(() => writeFiles(join(root, "file/new"), { c: "c" })).toThrow();
    expect(() => writeFiles(join(root, "made/here"), { "none/c": "c" })).toThrow();
    expect(readdirSync(root).sort()).toEqual(["file", "there", "x"]);
    expect(readdirSync(there).sort()).toEqual(["a.txt", "b.txt", "folder"]);
    expect(() => checkFolder(join(root, "file/new"))).toThrow("is no folder");
    checkFolder(join(root, "new/folder"));
  });

  test("what holds no results", () => {
    const root = temporaryFolder({ "results.json": "{}", bad: "{", list: "null" });
    expect(() => readResults(root)).toThrow("these are no results");
    expect(() => readResults(join(root, "bad"))).toThrow("JSON");
    expect(() => readResults(join(root, "list"))).toThrow("these are no results");
    expect(() => readResults(join(root, "none"))).toThrow("no such file");
  });
});

describe.skipIf(noChromium !== undefined)(`in Chromium${noChromium ? `: ${noChromium}` : ""}`, () => {
  let browser: Browser;
  const folder = temporaryFolder({ "report.html": report, "compare.html": comparison });
  beforeAll(async () => {
    browser = await launchChromium();
  }, 120_000);
  afterAll(() => browser?.close());

  for (const file of ["report.html", "compare.html"]) {
    test(`${file} opens without a complaint or a request, and fits its window`, async () => {
      for (const [width, colorScheme] of [
        [1280, "light"],
        [390, "dark"],
      ] as const) {
        const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
        const problems: string[] = [];
        const requests: string[] = [];
        page.on("console", (message) => problems.push(message.text()));
        page.on("pageerror", (error) => problems.push(String(error)));
        page.on("dialog", (dialog) => problems.push(dialog.message()));
        page.on("request", (request) => requests.push(request.url()));
        const address = pathToFileURL(join(folder, file)).href;
        await page.goto(address);
        const seen = await page.evaluate(() => {
          for (const details of document.querySelectorAll("details")) details.open = true;
          const parser = new DOMParser();
          const drawings = [...document.querySelectorAll("svg")].map((svg) =>
            new XMLSerializer().serializeToString(svg),
          );
          return {
            width: document.documentElement.scrollWidth,
            drawings: drawings.length,
            broken: drawings.filter((text) =>
              parser.parseFromString(text, "image/svg+xml").querySelector("parsererror"),
            ),
            strangers: document.querySelectorAll("script, img, iframe, object").length,
            dangling: [...document.querySelectorAll('a[href^="#"]')]
              .map((link) => link.getAttribute("href")!.slice(1))
              .filter((id) => !document.getElementById(id)),
            paper: getComputedStyle(document.body).backgroundColor,
          };
        });
        await page.close();
        expect(problems).toEqual([]);
        expect(requests.filter((url) => url !== address && !url.startsWith("data:"))).toEqual([]);
        expect(seen).toMatchObject({ width, broken: [], strangers: 0 });
        expect(seen.drawings).toBeGreaterThan(15);
        expect(seen.paper).toBe(colorScheme === "light" ? "rgb(255, 255, 255)" : "rgb(22, 23, 24)");
      }
    }, 60_000);
  }
});

test("results hold no times and no paths", () => {
  const keys = Object.keys(JSON.parse(encodeResults(RESULTS)) as Results);
  expect(keys).toEqual(["format", "model", "trained", "beside", "text", "results", "certificate"]);
});
