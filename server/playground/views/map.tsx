import { dot, type PlotOptions, text } from "@observablehq/plot";
import { select } from "d3-selection";
import { type D3ZoomEvent, ZoomTransform, zoom, zoomTransform } from "d3-zoom";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Size, useFigure } from "../components/figure.ts";
import { percent } from "../components/format.ts";
import { TokenName } from "../components/names.tsx";
import { Notice } from "../components/notice.tsx";
import type { ViewProps } from "../components/view-props.ts";
import type { Plane } from "../engine/engine.ts";
import type { Frame } from "../state/address.ts";
import { useResource } from "../state/resource.ts";
import { changes, showToken, state, update } from "../state/state.ts";

/** Number of words on the map. */
const COUNT = 800;

type Point = Plane["points"][number];

/** Frequent tokens that begin a word, projected onto the first two principal components of their recipes. */
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
            {value.points.length} frequent words and word prefixes. The plane explains{" "}
            {percent(value.shares[0] + value.shares[1])} of the variance of their recipes.
            {patch && " The patch is applied."}
          </span>
        )}
      </div>
      {error && <Notice error={error} />}
      {!value && !error && <p class="quiet">Computing the map …</p>}
      {value && <Chart points={value.points} search={find.trim().toLowerCase()} />}
      {value && <Found engine={engine} points={value.points} find={find.trim()} />}
    </>
  );
}

/** The words as a scatter plot. Dragging, the wheel, touch gestures and keys pan and zoom it. */
function Chart({ points, search }: { points: readonly Point[]; search: string }) {
  const container = useRef<HTMLDivElement>(null);
  const gestures = useRef(newZoom()).current;
  const { token, frame } = state.value;
  const [hovered, setHovered] = useState<Point>();
  const isMarked = (point: Point) => point === hovered || point.id === token || matches(point, search);
  const size = useFigure(
    container,
    (size) => drawing(points, frame ?? fit(points, size), size, isMarked, search !== ""),
    [points, frame, search, token, hovered],
  );

  useEffect(() => {
    const element = select(container.current!);
    // A double click does not zoom: its first click may already have opened a word.
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
    // Gestures start from the frame that the address or a button has set.
    select(container.current!).property("__zoom", transformOf(frame ?? whole, whole, size));
  });

  const pan = (dx: number, dy: number) => {
    const element = select(container.current!);
    const { k } = zoomTransform(container.current!);
    gestures.translateBy(element, dx / k, dy / k);
  };
  const zoomBy = (factor: number) => gestures.scaleBy(select(container.current!), factor);
  const key = (event: KeyboardEvent) => {
    const steps: Record<string, () => void> = {
      ArrowLeft: () => pan(40, 0),
      ArrowRight: () => pan(-40, 0),
      ArrowUp: () => pan(0, 40),
      ArrowDown: () => pan(0, -40),
      "+": () => zoomBy(1.3),
      "=": () => zoomBy(1.3),
      "-": () => zoomBy(1 / 1.3),
    };
    // Combinations with modifier keys belong to the browser.
    if (event.ctrlKey || event.metaKey || event.altKey || !steps[event.key]) return;
    event.preventDefault();
    steps[event.key]();
  };
  const pointAt = ({ offsetX, offsetY }: MouseEvent): Point | undefined =>
    size && nearest(points, frame ?? fit(points, size), size, [offsetX, offsetY]);
  return (
    <div class="map">
      <div
        class="words"
        ref={container}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the map is operated by keys.
        tabIndex={0}
        role="application"
        aria-label="Map of the recipe space: arrow keys pan, + and − zoom"
        style={hovered && { cursor: "pointer" }}
        onClick={(event) => {
          const point = pointAt(event);
          if (point) showToken(point.id);
        }}
        onPointerMove={(event) => setHovered(pointAt(event))}
        onPointerLeave={() => setHovered(undefined)}
        onKeyDown={key}
      />
      <div class="zoom">
        <button type="button" aria-label="Zoom in" title="Zoom in" onClick={() => zoomBy(1.5)}>
          +
        </button>
        <button type="button" aria-label="Zoom out" title="Zoom out" onClick={() => zoomBy(1 / 1.5)}>
          −
        </button>
        <button type="button" onClick={() => update({ frame: undefined })}>
          Show all
        </button>
      </div>
    </div>
  );
}

/** Search results as buttons, which can be reached by keys. A word that is not on the map is looked up in the vocabulary. */
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
      {found.length === 0 && <span class="quiet">No word on the map starts with this text. </span>}
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

/** A movement of a few pixels still counts as a click. Touch is always enabled, since a touch screen may be connected later. */
const newZoom = () =>
  zoom<HTMLDivElement, unknown>()
    .clickDistance(4)
    .duration(0)
    .touchable(true)
    .scaleExtent([1 / 4, 100]);

/** The frame that shows all points, with a margin for their words. */
function fit(points: readonly Point[], { width, height }: Size): Frame {
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min((width - 90) / (right - left), (height - 40) / (high - low));
  // Words are drawn to the right of their points.
  return { x: (left + right) / 2 + 35 / scale, y: (low + high) / 2, scale: Math.max(scale, 1e-6) };
}

/** The transform, as `d3-zoom` defines it, from pixels of the whole map to pixels of a frame. */
function transformOf({ x, y, scale }: Frame, whole: Frame, { width, height }: Size): ZoomTransform {
  const k = scale / whole.scale;
  const [dx, dy] = [(whole.x - x) * scale, (whole.y - y) * scale];
  return new ZoomTransform(k, (width / 2) * (1 - k) + dx, (height / 2) * (1 - k) - dy);
}

/** The inverse of {@link transformOf}. The result is rounded to the precision visible on screen, since it is stored in the address. */
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

/** The point nearest to a position in pixels, if there is one within 14 pixels. */
function nearest(
  points: readonly Point[],
  view: Frame,
  size: Size,
  [x, y]: readonly [number, number],
): Point | undefined {
  let [nearest, smallest]: [Point | undefined, number] = [undefined, 14];
  for (const point of points) {
    const [px, py] = pixels(point, view, size);
    const distance = Math.hypot(px - x, py - y);
    if (distance < smallest) [nearest, smallest] = [point, distance];
  }
  return nearest;
}

/** All visible points, and the words that fit without overlap. */
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
  // During a search, the other words are dimmed.
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

/** The points whose words overlap no earlier word. The words of marked points always keep their room. */
function readable(marked: readonly Point[], others: readonly Point[], view: Frame, size: Size): Point[] {
  const taken: { x: number; y: number; width: number }[] = [];
  const take = (point: Point, isMarked: boolean) => {
    const [x, y] = pixels(point, view, size);
    if (x < -60 || y < -20 || x > size.width + 60 || y > size.height + 20) return false;
    const width = 7 * point.text.trim().length + 12;
    const isFree = taken.every(
      (other) => Math.abs(other.y - y) > 13 || x > other.x + other.width || x + width < other.x,
    );
    if (isMarked || isFree) taken.push({ x, y, width });
    return isFree;
  };
  for (const point of marked) take(point, true);
  return others.filter((point) => take(point, false));
}
