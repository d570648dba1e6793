/** Above the slider: the effect of an intervention on a token's log-probability, with the null band of random directions of the same strength. */
import { areaY, dot, lineY, pointerX, ruleX, ruleY, text, tip } from "@observablehq/plot";
import { useEffect, useRef, useState } from "preact/hooks";
import { parseExpression } from "../../../runtime/text/expression.ts";
import { useFigure } from "../components/figure.ts";
import { percent, signed } from "../components/format.ts";
import type { ChanceBand, Changes, Engine } from "../engine/engine.ts";
import { interventionOf, isApplied, type RackItem } from "../state/rack.ts";
import { useResource } from "../state/resource.ts";
import { changes, state, update } from "../state/state.ts";

/** Number of amounts along the slider at which the band is computed. */
const POINTS = 7;

interface Point extends Pick<ChanceBand, "change" | "low" | "high"> {
  amount: number;
}

export function Band({ engine, item, index, slider: { min, max } }: BandProps) {
  const { prompt, watch, rack } = state.value;
  const { interventions, patch } = changes.value;
  /** Index among the applied interventions, which `changes` contains. */
  const appliedIndex = rack.slice(0, index).filter(isApplied).length;
  const withAmount = (amount: number): Changes => ({
    interventions: interventions.map((each, i) =>
      i === appliedIndex ? interventionOf({ ...item, amount }) : each,
    ),
    patch,
  });
  const others = JSON.stringify([prompt, watch, withAmount(0), item.op]);
  const isOn = prompt !== "" && isApplied(item);
  const compute = async (amount: number, signal: AbortSignal): Promise<ChanceBand & Point> => {
    const target = await trackedToken(engine, watch, item);
    return { amount, ...(await engine.band({ prompt, target, ...withAmount(amount) }, signal)) };
  };
  const current = useResource(
    isOn ? JSON.stringify([others, item.amount]) : undefined,
    (signal) => compute(item.amount, signal),
    { pause: 300 },
  );
  // A single intervention of strength 0 has no effect, so the band is zero there.
  const isZero = item.op === "add" && interventions.length === 1 && !patch;
  const curve = useCurve(isOn ? others : undefined, compute, { min, max, isZero });
  const currentPoint =
    current.value && !current.pending && current.value.amount === item.amount ? [current.value] : [];
  const points = [...curve.filter(({ amount }) => amount !== item.amount), ...currentPoint].sort(
    (a, b) => a.amount - b.amount,
  );
  return (
    <div class="band">
      <Readout band={current.value} pending={current.pending} />
      {current.error && (
        <p class="quiet">
          {current.error.message}
          {current.error.help && `: ${current.error.help}`}
        </p>
      )}
      <Curve points={points} min={min} max={max} amount={item.amount} />
      <label class="watch">
        Track the probability of{" "}
        <input
          value={watch}
          placeholder={current.value?.target.text ?? "a token"}
          spellcheck={false}
          onInput={(event) => update({ watch: event.currentTarget.value })}
        />
      </label>
    </div>
  );
}

interface BandProps {
  engine: Engine;
  item: RackItem;
  index: number;
  slider: { min: number; max: number };
}

/** The token to track: the one entered, with a leading space if it begins with a letter; by default the first token of the target. */
async function trackedToken(engine: Engine, watch: string, { kind, text }: RackItem): Promise<string> {
  if (watch !== "") return /^\p{L}/u.test(watch) ? ` ${watch}` : watch;
  if (kind === "token") return text;
  if (kind === "expression") return parseExpression(text)[0].text;
  return (await engine.signal(Number(text))).most[0].text;
}

/** Computes the band along the slider, point by point, from zero outwards. */
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
        // The request for the current amount reports the same error.
      }
    }, 800);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key, min, max]);
  return points;
}

function Readout({ band, pending }: { band?: ChanceBand; pending: boolean }) {
  if (!band) return <p class="readout quiet">{pending ? "Computing the null band …" : " "}</p>;
  const { target, change, low, high } = band;
  const isOutside = change < low || change > high;
  return (
    <p class="readout" aria-busy={pending} data-change={change}>
      <b>{target.text.trim() || JSON.stringify(target.text)}</b> {percent(Math.exp(band.default))} →{" "}
      {percent(Math.exp(band.steered))}{" "}
      <span class={isOutside ? "outside" : "quiet"}>
        {signed(change)} <abbr title="units of the natural logarithm">nats</abbr>,{" "}
        {isOutside ? "outside" : "within"} the null range ({signed(low)} to {signed(high)})
      </span>
    </p>
  );
}

const HOVERS = matchMedia("(hover: hover)");

/** The change of log-probability over the amount, on the slider's axis. {@link Readout} gives the values for the current amount as text. */
function Curve({ points, min, max, amount }: CurveProps) {
  const container = useRef<HTMLDivElement>(null);
  const values = points.flatMap(({ change, low, high }) => [change, low, high]);
  const ends = [Math.floor(Math.min(-1, ...values)), Math.ceil(Math.max(1, ...values))];
  const describe = ({ amount, change, low, high }: Point) =>
    `${signed(amount)}: ${signed(change)} nats\nnull range: ${signed(low)} to ${signed(high)}`;
  const drawing = () => ({
    margin: 6,
    marginLeft: 0,
    marginRight: 0,
    // The amount from a link may exceed the range of the slider.
    x: { domain: [min, max], clamp: true, axis: null },
    y: { domain: ends, axis: null },
    marks: [
      ruleY([0], { className: "zero" }),
      ruleX([0], { className: "zero" }),
      areaY(points, { x: "amount", y1: "low", y2: "high", className: "null" }),
      lineY(points, { x: "amount", y: "change", className: "line" }),
      dot(
        points.filter((point) => point.amount === amount),
        { x: "amount", y: "change", r: 5, className: "dot" },
      ),
      // The scale is at the middle, where the line and the band are at zero and leave room.
      text(ends, {
        x: 0,
        y: (end) => end,
        text: (end) => signed(end, 0),
        textAnchor: "start",
        dx: 4,
        className: "scale",
      }),
      // On touch screens the tooltip would stay after the finger is lifted.
      HOVERS.matches ? tip(points, pointerX({ x: "amount", y: "change", title: describe })) : null,
    ],
  });
  useFigure(container, drawing, [JSON.stringify(points), min, max, amount]);
  // The plot library pins the tooltip on a click.
  return (
    <div
      class="curve"
      ref={container}
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
