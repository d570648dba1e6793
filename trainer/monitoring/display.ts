import { Presets, SingleBar } from "cli-progress";
import { note } from "../../runtime/host/command.ts";

/** Figures shown beside the step number. */
export interface DisplayedFigures {
  loss: number;
  valLoss?: number;
  tokensPerSecond: number;
  /** Fraction of the machine's peak rate, from 0 to 1; absent if the peak was not measured. */
  roofShare?: number;
}

/** Shows progress as a bar on a terminal, and as a line per log step elsewhere. */
export class Display {
  readonly #bar: SingleBar | undefined;
  readonly #steps: number;

  constructor(step: number, steps: number) {
    this.#steps = steps;
    if (!process.stderr.isTTY) return;
    const columns = process.stderr.columns || 80;
    const [bar, roof] = columns < 80 ? ["", ""] : ["{bar} ", "{roof}"];
    const barsize = Math.max(4, Math.min(24, columns - 66 - 2 * `${steps}`.length));
    this.#bar = new SingleBar(
      {
        format: `${bar}{value}/{total}  loss {loss}  val {val}  {rate} tok/s  ${roof}ETA {eta_formatted}`,
        barsize,
        etaBuffer: 50,
        linewrap: true, // if disabled, it would remain so after a kill
      },
      Presets.shades_grey,
    );
    this.#bar.start(steps, step, { loss: "–", val: "–", rate: "–", roof: "" });
  }

  /** @param log whether to write a line if there is no terminal */
  step(step: number, shown: DisplayedFigures, log: boolean): void {
    const { loss, valLoss, tokensPerSecond, roofShare } = shown;
    const val = valLoss?.toFixed(3) ?? "–";
    const rate = Math.round(tokensPerSecond).toLocaleString("en");
    const roof = roofShare === undefined ? "" : `${Math.round(100 * roofShare)}% of roof  `;
    this.#bar?.update(step, { loss: loss.toFixed(3), val, rate, roof });
    if (!this.#bar && log) {
      note(
        `step ${step}/${this.#steps}  loss ${loss.toFixed(4)}  val ${val}  ${rate} tok/s  ${roof}`.trimEnd(),
      );
    }
  }

  /** Writes a line above the bar. */
  note(line: string): void {
    if (!this.#bar) {
      note(line);
      return;
    }
    // On stopping, the bar restores the saved cursor position, which is now one line lower.
    process.stderr.write(`\r\x1b[K${line}\n\x1b7`);
  }

  stop(): void {
    this.#bar?.stop();
  }
}

/** Runs `work` with a progress bar for each stage that it reports; 39 columns wide. */
export async function withBar<T>(
  work: (onProgress: (stage: string, done: number, of: number) => void) => Promise<T>,
): Promise<T> {
  const bar = new SingleBar(
    { format: "{stage} {bar} {percentage}%", barsize: 24, clearOnComplete: true, linewrap: true },
    Presets.shades_grey,
  );
  let shown: string | undefined;
  try {
    return await work((stage, done, of) => {
      if (stage !== shown) {
        if (shown) bar.stop();
        shown = stage;
        if (!process.stderr.isTTY) note(`${stage} …`);
        bar.start(of, done, { stage: stage.padEnd(9) });
      }
      bar.setTotal(of);
      bar.update(done);
    });
  } finally {
    bar.stop();
  }
}
