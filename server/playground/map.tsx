import { dot, type PlotOptions, text } from "@observablehq/plot";
import { select } from "d3-selection";
import { type D3ZoomEvent, ZoomTransform, zoom, zoomTransform } from "d3-zoom";
import { useEffect, useRef, useState } from "preact/hooks";
import type { ViewProps } from "./app.tsx";
import type { Plane } from "./engine.ts";
import { type Size, useFigure } from "./figure.tsx";
import { Notice } from "./notice.tsx";
import { useResource } from "./resource.ts";
import { changes, type Frame, showToken, state, update } from "./state.ts";
import { percent } from "./steer.tsx";
import { TokenName } from "./tokens.tsx";

/** Words on it. */
const COUNT = 800;

type Point = Plane["points"][number];

/** Frequent tokens that begin a word, on the plane in which their recipes differ most. */
export function MapView({ engine }: ViewProps) {
  const { patch } = changes.value;
  const { value, error } = useResource(JSON.stringify(["map", patch]), () => engine.map(COUNT, patch));
  const { find } = state.value;
  return (
    <>
      <div class="row settings">
        <label>
          Find{" "}
          <input
            type="search"
            value={find}
            spellcheck={false}
            onInput={(event) => update({ find: event.currentTarget.value })}
          />
        </label>
        {value && (
          <span class="quiet">
            {value.points.length} frequent words and beginnings of words; this plane holds{" "}
            {percent(value.shares[0] + value.shares[1])} of the variance of their recipes
            {patch && ", as they are patched"}
          </span>
        )}
      </div>
      {error && <Notice error={error} />}
      {!value && !error && <p class="quiet">Laying out the words …</p>}
      {value && <Chart points={value.points} search={find.trim().toLowerCase()} />}
      {value && <Found engine={engine} points={value.points} find={find.trim()} />}
    </>
  );
}

/** Words at their places. Drag, wheel and fingers move and enlarge it; so do keys. */
function Chart({ points, search }: { points: readonly Point[]; search: string }) {
  const place = useRef<HTMLDivElement>(null);
  const gestures = useRef(newZoom()).current;
  const { token, frame } = state.value;
  const [over, setOver] = useState<Point>();
  const isMarked = (point: Point) => point === over || point.id === token || matches(point, search);
  const size = useFigure(
    place,
    (size) => drawing(points, frame ?? fit(points, size), size, isMarked, search !== ""),
    [points, frame, search, token, over],
  );

  useEffect(() => {
    const element = select(place.current!);
    // A word may be under it, which opens at the first click.
    element.call(gestures).on("dblclick.zoom", null);
    return () => {
      element.on(".zoom", null);
    };
  }, []);
  useEffect(() => {
    if (!size) return;
    const whole = fit(points, size);
    gestures.on("zoom", ({ transform }: D3ZoomEvent<HTMLDivElement, unknown>) => {
      update({ frame: frameOf(transform, whole, size) });
    });
    // It begins where the address, or a button, has led.
    select(place.current!).property("__zoom", transformOf(frame ?? whole, whole, size));
  });

  const pan = (dx: number, dy: number) => {
    const element = select(place.current!);
    const { k } = zoomTransform(place.current!);
    gestures.translateBy(element, dx / k, dy / k);
  };
  const enlarge = (factor: number) => gestures.scaleBy(select(place.current!), factor);
  const key = (event: KeyboardEvent) => {
    const steps: Record<string, () => void> = {
      ArrowLeft: () => pan(40, 0),
      ArrowRight: () => pan(-40, 0),
      ArrowUp: () => pan(0, 40),
      ArrowDown: () => pan(0, -40),
      "+": () => enlarge(1.3),
      "=": () => enlarge(1.3),
      "-": () => enlarge(1 / 1.3),
    };
    // With another key they are the browser's.
    if (event.ctrlKey || event.metaKey || event.altKey || !steps[event.key]) return;
    event.preventDefault();
    steps[event.key]();
  };
  const near = ({ offsetX, offsetY }: MouseEvent): Point | undefined =>
    size && nearest(points, frame ?? fit(points, size), size, [offsetX, offsetY]);
  return (
    <div class="map">
      <div
        class="words"
        ref={place}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: keys move it.
        tabIndex={0}
        role="application"
        aria-label="Map of the recipe space: arrows move it, + and − zoom"
        style={over && { cursor: "pointer" }}
        onClick={(event) => {
          const point = near(event);
          if (point) showToken(point.id);
        }}
        onPointerMove={(event) => setOver(near(event))}
        onPointerLeave={() => setOver(undefined)}
        onKeyDown={key}
      />
      <div class="zoom">
        <button type="button" aria-label="Closer" onClick={() => enlarge(1.5)}>
          +
        </button>
        <button type="button" aria-label="Further" onClick={() => enlarge(1 / 1.5)}>
          −
        </button>
        <button type="button" onClick={() => update({ frame: undefined })}>
          All
        </button>
      </div>
    </div>
  );
}

/** What a search finds, as buttons: for keys, too. A word that is not on the map may be a token nevertheless. */
function Found({
  engine,
  points,
  find,
}: Pick<ViewProps, "engine"> & { points: readonly Point[]; find: string }) {
  const found = points.filter((point) => matches(point, find.toLowerCase())).slice(0, 12);
  const elsewhere = useResource(
    find !== "" && found.length === 0 ? find : undefined,
    () => engine.tokenize(` ${find}`),
    { pause: 150 },
  );
  if (find === "") return null;
  const [token, ...more] = elsewhere.value ?? [];
  return (
    <p class="found" role="status">
      {found.length === 0 && <span class="quiet">No word here begins so. </span>}
      {found.length === 0 && token && more.length === 0 && (
        <>
          <span class="quiet">In the vocabulary:</span> <TokenName {...token} />
        </>
      )}
      {found.map(({ id, text }) => (
        <button key={id} type="button" class="name" onClick={() => showToken(id)}>
          {text.trim()}
        </button>
      ))}
    </p>
  );
}

const matches = ({ text }: Point, search: string): boolean =>
  search !== "" && text.trim().toLowerCase().startsWith(search);

/** Hands tremble: what moves less than some pixels is a click. Touch screens may be plugged in later. */
const newZoom = () =>
  zoom<HTMLDivElement, unknown>()
    .clickDistance(4)
    .duration(0)
    .touchable(true)
    .scaleExtent([1 / 4, 100]);

/** All of it, with a margin for words. */
function fit(points: readonly Point[], { width, height }: Size): Frame {
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min((width - 90) / (right - left), (height - 40) / (high - low));
  // Words are to the right of their points.
  return { x: (left + right) / 2 + 35 / scale, y: (low + high) / 2, scale: Math.max(scale, 1e-6) };
}

/** Of a place on the whole map, in pixels, to where it is in the frame: as the gestures have it. */
function transformOf({ x, y, scale }: Frame, whole: Frame, { width, height }: Size): ZoomTransform {
  const k = scale / whole.scale;
  const [dx, dy] = [(whole.x - x) * scale, (whole.y - y) * scale];
  return new ZoomTransform(k, (width / 2) * (1 - k) + dx, (height / 2) * (1 - k) - dy);
}

/** The other way round, to what an eye can tell: it lives in the address. */
function frameOf({ k, x, y }: ZoomTransform, whole: Frame, { width, height }: Size): Frame {
  const scale = k * whole.scale;
  const frame = {
    x: whole.x + ((width / 2) * (1 - k) - x) / scale,
    y: whole.y - ((height / 2) * (1 - k) - y) / scale,
    scale,
  };
  return { x: rounded(frame.x), y: rounded(frame.y), scale: rounded(frame.scale) };
}

const rounded = (value: number): number => Number(value.toPrecision(5));

const pixels = ({ x, y }: Point, view: Frame, { width, height }: Size): [x: number, y: number] => [
  width / 2 + (x - view.x) * view.scale,
  height / 2 - (y - view.y) * view.scale,
];

/** The word that is meant by a place of the drawing, if one is near. */
function nearest(
  points: readonly Point[],
  view: Frame,
  size: Size,
  [x, y]: readonly [number, number],
): Point | undefined {
  let [found, least]: [Point | undefined, number] = [undefined, 14];
  for (const point of points) {
    const [px, py] = pixels(point, view, size);
    const distance = Math.hypot(px - x, py - y);
    if (distance < least) [found, least] = [point, distance];
  }
  return found;
}

/** Points, and the words of those that have room for them. */
function drawing(
  points: readonly Point[],
  view: Frame,
  size: Size,
  isMarked: (point: Point) => boolean,
  isDim: boolean,
): PlotOptions {
  const at = { x: "x", y: "y" } as const;
  const word = { ...at, text: ({ text }: Point) => text.trim(), textAnchor: "start", dx: 6 } as const;
  const marked = points.filter(isMarked);
  const isSeen = (point: Point) => {
    const [x, y] = pixels(point, view, size);
    return x > -10 && y > -10 && x < size.width + 10 && y < size.height + 10;
  };
  const others = points.filter((point) => !isMarked(point) && isSeen(point));
  // While something is sought, the rest is behind it.
  const className = isDim ? "word dim" : "word";
  const [dx, dy] = [size.width / 2 / view.scale, size.height / 2 / view.scale];
  return {
    margin: 0,
    style: { fontSize: "12px" },
    x: { domain: [view.x - dx, view.x + dx], axis: null },
    y: { domain: [view.y - dy, view.y + dy], axis: null },
    marks: [
      dot(others, { ...at, r: 1.8, className }),
      text(readable(marked, others, view, size), { ...word, className }),
      dot(marked, { ...at, r: 4, className: "mark" }),
      text(marked, { ...word, className: "mark" }),
    ],
  };
}

/** Those whose words cover no other's, the first ones first: those that are marked have theirs anyway. */
function readable(marked: readonly Point[], others: readonly Point[], view: Frame, size: Size): Point[] {
  const taken: { x: number; y: number; width: number }[] = [];
  const take = (point: Point, isSure: boolean) => {
    const [x, y] = pixels(point, view, size);
    if (x < -60 || y < -20 || x > size.width + 60 || y > size.height + 20) return false;
    const width = 7 * point.text.trim().length + 12;
    const isFree = taken.every(
      (other) => Math.abs(other.y - y) > 13 || x > other.x + other.width || x + width < other.x,
    );
    if (isSure || isFree) taken.push({ x, y, width });
    return isFree;
  };
  for (const point of marked) take(point, true);
  return others.filter((point) => take(point, false));
}
