/** Behind a strength's slider: what it does to a token's chances, and what random directions as strong would do. */
import { areaY, dot, lineY, pointerX, ruleX, ruleY, text, tip } from "@observablehq/plot";
import { useEffect, useRef, useState } from "preact/hooks";
import { parseExpression } from "../../runtime/text/expression.ts";
import { signed } from "./bars.tsx";
import type { ChanceBand, Changes, Engine } from "./engine.ts";
import { useFigure } from "./figure.tsx";
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
  const compute = async (amount: number, signal: AbortSignal): Promise<ChanceBand & Point> => {
    const target = await watched(engine, watch, item);
    return { amount, ...(await engine.band({ prompt, target, ...withAmount(amount) }, signal)) };
  };
  const now = useResource(
    isOn ? JSON.stringify([others, item.amount]) : undefined,
    (signal) => compute(item.amount, signal),
    { pause: 300 },
  );
  // Alone, and of no strength, it changes nothing.
  const isZero = item.op === "add" && interventions.length === 1 && !patch;
  const curve = useCurve(isOn ? others : undefined, compute, { min, max, isZero });
  const here = now.value && !now.pending && now.value.amount === item.amount ? [now.value] : [];
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
      <Curve points={points} min={min} max={max} amount={item.amount} />
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

const HOVERS = matchMedia("(hover: hover)");

/** Change of log-probability over strength. Its x axis is the slider's. What it says of the amount that is set, {@link Reading} does in words. */
function Curve({ points, min, max, amount }: CurveProps) {
  const place = useRef<HTMLDivElement>(null);
  const values = points.flatMap(({ change, low, high }) => [change, low, high]);
  const ends = [Math.floor(Math.min(-1, ...values)), Math.ceil(Math.max(1, ...values))];
  const describe = ({ amount, change, low, high }: Point) =>
    `${signed(amount)}: ${signed(change)} nats\nchance: ${signed(low)} to ${signed(high)}`;
  const drawing = () => ({
    margin: 6,
    marginLeft: 0,
    marginRight: 0,
    // A link may say more than the slider can.
    x: { domain: [min, max], clamp: true, axis: null },
    y: { domain: ends, axis: null },
    marks: [
      ruleY([0], { className: "zero" }),
      ruleX([0], { className: "zero" }),
      areaY(points, { x: "amount", y1: "low", y2: "high", className: "chance" }),
      lineY(points, { x: "amount", y: "change", className: "line" }),
      dot(
        points.filter((point) => point.amount === amount),
        { x: "amount", y: "change", r: 5, className: "dot" },
      ),
      // Beside the middle: there the line and the band are at zero.
      text(ends, {
        x: 0,
        y: (end) => end,
        text: (end) => signed(end, 0),
        textAnchor: "start",
        dx: 4,
        className: "scale",
      }),
      // A finger that is gone would leave it there.
      HOVERS.matches ? tip(points, pointerX({ x: "amount", y: "change", title: describe })) : null,
    ],
  });
  useFigure(place, drawing, [JSON.stringify(points), min, max, amount]);
  // A click would fix the tip where it is.
  return (
    <div
      class="curve"
      ref={place}
      aria-hidden="true"
      onPointerDownCapture={(event) => event.stopPropagation()}
    />
  );
}

interface CurveProps {
  points: readonly Point[];
  min: number;
  max: number;
  amount: number;
}
