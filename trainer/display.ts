import { Presets, SingleBar } from "cli-progress";

/** What the bar shows beside its own figures. */
export interface Shown {
  loss: number;
  valLoss?: number;
  tokensPerSecond: number;
  /** Of the machine's roof, 0 to 1; absent where it isn't known. */
  roofShare?: number;
}

/** Progress on a terminal as a bar, elsewhere as a line at each log step. */
export class Display {
  readonly #bar: SingleBar | undefined;
  readonly #steps: number;

  constructor(step: number, steps: number) {
    this.#steps = steps;
    if (!process.stderr.isTTY) return;
    const format = "{bar} {value}/{total}  loss {loss}  val {val}  {rate} tok/s  {roof}ETA {eta_formatted}";
    this.#bar = new SingleBar(
      {
        format,
        barsize: Math.max(8, Math.min(24, (process.stderr.columns ?? 80) - 78)),
        hideCursor: true,
        etaBuffer: 50,
      },
      Presets.shades_grey,
    );
    this.#bar.start(steps, step, { loss: "–", val: "–", rate: "–", roof: "" });
  }

  /** @param log whether a line is due where there is no terminal */
  step(step: number, shown: Shown, log: boolean): void {
    const { loss, valLoss, tokensPerSecond, roofShare } = shown;
    const val = valLoss?.toFixed(3) ?? "–";
    const rate = Math.round(tokensPerSecond).toLocaleString("en");
    const roof = roofShare === undefined ? "" : `${Math.round(100 * roofShare)}% of roof  `;
    this.#bar?.update(step, { loss: loss.toFixed(3), val, rate, roof });
    if (!this.#bar && log) {
      console.error(
        `step ${step}/${this.#steps}  loss ${loss.toFixed(4)}  val ${val}  ${rate} tok/s  ${roof}`.trimEnd(),
      );
    }
  }

  /** A line of its own, above the bar. */
  note(line: string): void {
    if (!this.#bar) {
      console.error(line);
      return;
    }
    process.stderr.write(`\r\x1b[K${line}\n`);
    this.#bar.updateETA();
  }

  stop(): void {
    this.#bar?.stop();
  }
}
