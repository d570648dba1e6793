import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ZScoreStrip, zScore } from "../../../cli/report/claims.ts";
import { renderFigure } from "../../../cli/report/figure.ts";
import { pText, short } from "../../../cli/report/markup/numbers.ts";
import { extent, linear, logarithmic } from "../../../cli/report/markup/scale.ts";
import { table } from "../../../cli/report/markup/table.ts";
import type { Figure } from "../../../runtime/experiments/framework/figure.ts";
import { FIGURES, HOSTILE, RESULTS, WIDE_HEATMAP } from "./fixture.ts";
import { numbersOf, parse, svgs } from "./support.ts";

describe("figures", () => {
  for (const [type, figure] of Object.entries({ ...FIGURES, wide: WIDE_HEATMAP })) {
    test(`${type}: well-formed, with title and caption, and inside its frame`, () => {
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

  test("lines: points are to scale, nulls are dashed with a band, and few values become ticks", () => {
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

  test("bars: negative values extend left of zero, and nulls are marked", () => {
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

  test("heatmap: omits missing values, colours by sign, and uses one scale for all cells", () => {
    const cells = parse(svgs(renderFigure(FIGURES.heatmap).text).at(-1)!).filter(
      ({ attributes }) => attributes["fill-opacity"],
    );
    expect(cells.length).toBe(19);
    expect(cells[4].attributes).toMatchObject({ class: "warm", "fill-opacity": "1" });
    expect(cells[5].attributes["fill-opacity"]).toBe("0.04");
    expect(renderFigure(WIDE_HEATMAP).text).toContain('class="cold"');
  });

  test("tables contain the numbers", () => {
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

  test("never draws at coordinates that are not finite", () => {
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
  test("formats numbers", () => {
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

  test("a column uses one number of decimals, unless magnitudes differ too much", () => {
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

  test("the z-score is positive on the claimed side", () => {
    const [gini, silhouette, , algebra] = RESULTS.certificate.claims;
    expect(zScore(gini)).toBeCloseTo(-(0.683 - 0.608) / 0.014, 9); // the claim's side is "less"
    expect(zScore(silhouette)).toBeCloseTo((0.2281 + 0.1184) / 0.0094, 9);
    expect(zScore(algebra)).toBe(Infinity);
    const [inside, beyond] = [silhouette, algebra].map((claim) =>
      Number(parse(new ZScoreStrip(RESULTS.certificate.claims).row([claim]).text).at(-1)!.attributes.cx),
    );
    expect(beyond).toBe(172);
    expect(inside).toBeWithin(100, 173);
  });
});
