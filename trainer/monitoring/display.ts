import { Presets, SingleBar } from "cli-progress";
import { note } from "../../runtime/host/command.ts";

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
    const columns = process.stderr.columns || 80;
    const [bar, roof] = columns < 80 ? ["", ""] : ["{bar} ", "{roof}"];
    const barsize = Math.max(4, Math.min(24, columns - 66 - 2 * `${steps}`.length));
    this.#bar = new SingleBar(
      {
        format: `${bar}{value}/{total}  loss {loss}  val {val}  {rate} tok/s  ${roof}ETA {eta_formatted}`,
        barsize,
        etaBuffer: 50,
        linewrap: true, // off, it would stay off after a kill
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
      note(
        `step ${step}/${this.#steps}  loss ${loss.toFixed(4)}  val ${val}  ${rate} tok/s  ${roof}`.trimEnd(),
      );
    }
  }

  /** A line of its own, above the bar. */
  note(line: string): void {
    if (!this.#bar) {
      note(line);
      return;
    }
    // Stopping, the bar goes back to where the cursor was saved: from now on, that is a line lower.
    process.stderr.write(`\r\x1b[K${line}\n\x1b7`);
  }

  stop(): void {
    this.#bar?.stop();
  }
}

/** Runs `work` with a bar for each stage of it that takes a while; 39 columns wide. */
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
