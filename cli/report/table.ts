import { type Markup, markup } from "./html.ts";
import { decimalsOf, grouped, short } from "./numbers.ts";

type Cell = string | number | undefined;

/**
 * Rows under names. Numbers stand flush right, with as many digits after the point all the way down.
 *
 * @param options `stacks`: on a narrow screen each row becomes a block of lines, its first cell their heading
 */
export function table(
  columns: readonly string[],
  rows: readonly (readonly Cell[])[],
  { stacks = false } = {},
): Markup {
  const formats = columns.map((_, j) => numberFormat(rows.map((row) => row[j])));
  const number = (j: number) => formats[j] && markup` class="n"`;
  const cell = (value: Cell, j: number) => {
    const text = typeof value === "number" ? (formats[j] ?? short)(value) : value;
    if (!stacks) return markup`<td${number(j)}>${text}</td>`;
    return markup`<td role="cell" data-column="${columns[j]}"${number(j)}>${text}</td>`;
  };
  const [role, rowRole, headRole] = stacks
    ? [markup` role="table" class="stacks"`, markup` role="row"`, markup` role="columnheader"`]
    : [];
  return markup`<table${role}><thead><tr${rowRole}>${columns.map(
    (column, j) => markup`<th scope="col"${headRole}${number(j)}>${column}</th>`,
  )}</tr></thead><tbody>${rows.map(
    (row) => markup`<tr${rowRole}>${columns.map((_, j) => cell(row[j], j))}</tr>\n`,
  )}</tbody></table>`;
}

/** Of a column of numbers; undefined where there are texts in it. */
function numberFormat(column: readonly Cell[]): ((x: number) => string) | undefined {
  const numbers = column.filter((cell) => typeof cell === "number");
  if (numbers.length === 0 || column.some((cell) => typeof cell === "string")) return undefined;
  const decimals = decimalsOf(numbers);
  return decimals === undefined ? short : (x) => grouped(x, decimals);
}
