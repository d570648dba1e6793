import { type Markup, markup } from "./html.ts";
import { decimalsOf, grouped, short } from "./numbers.ts";

type Cell = string | number | undefined;

/**
 * Renders a table. Numbers are right-aligned, with the same number of decimals in all rows of a column.
 *
 * @param options `stacks`: on narrow screens each row becomes a block of lines with the first cell as its heading;
 *   `alike`: all columns use the same number of decimals
 */
export function table(
  columns: readonly string[],
  rows: readonly (readonly Cell[])[],
  { stacks = false, alike = false } = {},
): Markup {
  const all = rows.flat().filter((cell) => typeof cell === "number");
  const formats = columns.map((_, j) => {
    const column = rows.map((row) => row[j]).filter((cell) => cell !== undefined && cell !== "");
    const numbers = column.filter((cell) => typeof cell === "number");
    if (numbers.length === 0 || numbers.length < column.length) return undefined;
    return numberFormat(alike ? all : numbers);
  });
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

function numberFormat(numbers: readonly number[]): (x: number) => string {
  const decimals = decimalsOf(numbers);
  return decimals === undefined ? short : (x) => grouped(x, decimals);
}
