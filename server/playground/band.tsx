/** Behind a strength's slider: what it does to a token's chances, and what random directions as strong would do. */
import { useEffect, useState } from "preact/hooks";
import { parseExpression } from "../../runtime/interventions/expression.ts";
import { signed } from "./bars.tsx";
import type { ChanceBand, Changes, Engine } from "./engine.ts";
import { useResource } from "./resource.ts";
import { changes, type Item, interventionOf, isApplied, state, update } from "./state.ts";
import { percent } from "./steer.tsx";

/** Amounts along the slider at which the band is computed. */
const POINTS = 7;

interface Point extends Pick<ChanceBand, "change" | "low" | "high"> {
  amount: number;
}

export function Band({ engine, item, index, slider: { min, max } }: BandProps) {
  const { prompt, watch, rack } = state.value;
  const { interventions, patch } = changes.value;
  /** Among those that are on, as `changes` has them. */
  const place = rack.slice(0, index).filter(isApplied).length;
  const withAmount = (amount: number): Changes => ({
    interventions: interventions.map((each, i) => (i === place ? interventionOf({ ...item, amount }) : each)),
    patch,
  });
  const others = JSON.stringify([prompt, watch, withAmount(0), item.op]);
  const isOn = prompt !== "" && isApplied(item);
  const compute = async (amount: number, signal: AbortSignal): Promise<ChanceBand> => {
    const target = await watched(engine, watch, item);
    return engine.band({ prompt, target, ...withAmount(amount) }, signal);
  };
  const now = useResource(
    isOn ? JSON.stringify([others, item.amount]) : undefined,
    (signal) => compute(item.amount, signal),
    { pause: 300 },
  );
  // Alone, and of no strength, it changes nothing.
  const isZero = item.op === "add" && interventions.length === 1 && !patch;
  const curve = useCurve(isOn ? others : undefined, compute, { min, max, isZero });
  const here = now.value && !now.pending ? [{ amount: item.amount, ...now.value }] : [];
  const points = [...curve.filter(({ amount }) => amount !== item.amount), ...here].sort(
    (a, b) => a.amount - b.amount,
  );
  return (
    <div class="band">
      <Reading band={now.value} pending={now.pending} />
      {now.error && (
        <p class="quiet">
          {now.error.message}
          {now.error.help && `: ${now.error.help}`}
        </p>
      )}
      <Plot points={points} min={min} max={max} amount={item.amount} />
      <label class="watch">
        Watch the chance of{" "}
        <input
          value={watch}
          placeholder={now.value?.target.text ?? "a token"}
          spellcheck={false}
          onInput={(event) => update({ watch: event.currentTarget.value })}
        />
      </label>
    </div>
  );
}

interface BandProps {
  engine: Engine;
  item: Item;
  index: number;
  slider: { min: number; max: number };
}

/** The token that is asked for, with the space that words have; or the first of what an intervention is made of. */
async function watched(engine: Engine, watch: string, { kind, text }: Item): Promise<string> {
  if (watch !== "") return /^\p{L}/u.test(watch) ? ` ${watch}` : watch;
  if (kind === "token") return text;
  if (kind === "expression") return parseExpression(text)[0].text;
  return (await engine.signal(Number(text))).most[0].text;
}

/** The band along the slider, point by point, the ends last. */
function useCurve(
  key: string | undefined,
  compute: (amount: number, signal: AbortSignal) => Promise<ChanceBand>,
  { min, max, isZero }: { min: number; max: number; isZero: boolean },
): Point[] {
  const [points, set] = useState<Point[]>([]);
  useEffect(() => {
    set([]);
    if (key === undefined) return;
    const controller = new AbortController();
    const { signal } = controller;
    const timer = setTimeout(async () => {
      const amounts = Array.from({ length: POINTS }, (_, i) => min + ((max - min) * i) / (POINTS - 1));
      amounts.sort((a, b) => Math.abs(a) - Math.abs(b));
      const found: Point[] = [];
      try {
        for (const amount of amounts) {
          const isNothing = isZero && Math.abs(amount) < 1e-9;
          const { change, low, high } = isNothing
            ? { change: 0, low: 0, high: 0 }
            : await compute(amount, signal);
          signal.throwIfAborted();
          found.push({ amount, change, low, high });
          set([...found]);
        }
      } catch {
        // What is wrong is said of the amount that is set.
      }
    }, 800);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key, min, max]);
  return points;
}

function Reading({ band, pending }: { band?: ChanceBand; pending: boolean }) {
  if (!band) return <p class="reading quiet">{pending ? "Comparing with chance …" : " "}</p>;
  const { target, change, low, high } = band;
  const isBeyond = change < low || change > high;
  return (
    <p class="reading" aria-busy={pending} data-change={change}>
      <b>{target.text.trim() || JSON.stringify(target.text)}</b> {percent(Math.exp(band.default))} →{" "}
      {percent(Math.exp(band.steered))}{" "}
      <span class={isBeyond ? "beyond" : "quiet"}>
        {signed(change)} nats, {isBeyond ? "beyond" : "within"} chance ({signed(low)} to {signed(high)})
      </span>
    </p>
  );
}

const [WIDTH, HEIGHT] = [300, 64];

/** Change of log-probability over strength. Its x axis is the slider's. */
function Plot({
  points,
  min,
  max,
  amount,
}: {
  points: readonly Point[];
  min: number;
  max: number;
  amount: number;
}) {
  const values = points.flatMap(({ change, low, high }) => [change, low, high]);
  const [bottom, top] = [Math.floor(Math.min(-1, ...values)), Math.ceil(Math.max(1, ...values))];
  // A link may say more than the slider can.
  const x = (amount: number) => (WIDTH * (Math.min(Math.max(amount, min), max) - min)) / (max - min);
  const y = (value: number) => 3 + ((HEIGHT - 6) * (top - value)) / (top - bottom);
  const path = (of: (point: Point) => number, list: readonly Point[] = points) =>
    list.map((point) => `${x(point.amount).toFixed(1)},${y(of(point)).toFixed(1)}`).join(" L");
  const now = points.find((point) => point.amount === amount);
  /** The line is at neither of the other two corners. */
  const isFalling = points.length > 1 && points[0].change > points[points.length - 1].change;
  return (
    <div class={isFalling ? "plot falling" : "plot"} aria-hidden="true">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none">
        <title>Change of log-probability by strength, and by chance</title>
        <line class="zero" x1={0} x2={WIDTH} y1={y(0)} y2={y(0)} />
        <line class="zero" x1={x(0)} x2={x(0)} y1={0} y2={HEIGHT} />
        {points.length > 1 && (
          <>
            <path
              class="chance"
              d={`M${path(({ low }) => low)} L${path(({ high }) => high, points.toReversed())} Z`}
            />
            <path class="line" d={`M${path(({ change }) => change)}`} />
          </>
        )}
      </svg>
      <span class="scale quiet">{signed(top, 0)}</span>
      <span class="scale low quiet">{signed(bottom, 0)}</span>
      {now && (
        <i
          class="dot"
          style={{ left: `${(100 * x(amount)) / WIDTH}%`, top: `${(100 * y(now.change)) / HEIGHT}%` }}
        />
      )}
    </div>
  );
}
