import { useEffect, useRef, useState } from "preact/hooks";
import type { ViewProps } from "./app.tsx";
import type { Plane } from "./engine.ts";
import { Notice } from "./notice.tsx";
import { useResource } from "./resource.ts";
import { type Frame, showToken, state, update } from "./state.ts";
import { percent } from "./steer.tsx";
import { TokenName } from "./tokens.tsx";

/** Words on it. */
const COUNT = 800;

type Point = Plane["points"][number];

/** Frequent tokens that begin a word, on the plane in which their recipes differ most. */
export function MapView({ engine }: ViewProps) {
  const { value, error } = useResource("map", () => engine.map(COUNT));
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

function Chart({ points, search }: { points: readonly Point[]; search: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [over, setOver] = useState<Point>();
  const drag = useRef<{ x: number; y: number; moved: boolean } | undefined>(undefined);
  /** Fingers and pens that are down, or the mouse. */
  const pointers = useRef(new Map<number, { x: number; y: number }>());
  const { token, frame } = state.value;

  useEffect(() => {
    const element = canvas.current!;
    const observer = new ResizeObserver(() => {
      setSize({ width: element.clientWidth, height: element.clientHeight });
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const view = frame ?? fit(points, size);
  // Of colours, too: they are another's when the system turns dark.
  useEffect(() => {
    const paint = () => draw(canvas.current!, points, view, { search, over, token });
    paint();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", paint);
    return () => dark.removeEventListener("change", paint);
  });

  // Of now: several events may come before the next rendering.
  const current = () => state.value.frame ?? view;
  const setFrame = (next: Frame) => update({ frame: rounded(next) });
  const pan = (dx: number, dy: number) => {
    const view = current();
    setFrame({ ...view, x: view.x - dx / view.scale, y: view.y + dy / view.scale });
  };
  /** Keeps the place at (px, py) of the canvas where it is. */
  const zoom = (factor: number, px = size.width / 2, py = size.height / 2) => {
    const view = current();
    const [dx, dy] = [px - size.width / 2, py - size.height / 2];
    const all = fit(points, size).scale;
    const scale = Math.min(Math.max(view.scale * factor, all / 4), 100 * all);
    const at = { x: view.x + dx / view.scale, y: view.y - dy / view.scale };
    setFrame({ x: at.x - dx / scale, y: at.y + dy / scale, scale });
  };
  const zoomRef = useRef(zoom);
  zoomRef.current = zoom;
  useEffect(() => {
    // Not passive, which listeners of the view library's are: the page must not scroll.
    const element = canvas.current!;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      zoomRef.current(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, []);

  const nearest = ({ offsetX, offsetY }: MouseEvent): Point | undefined => {
    let [found, least]: [Point | undefined, number] = [undefined, 14];
    for (const point of points) {
      const [px, py] = place(point, view, size);
      const distance = Math.hypot(px - offsetX, py - offsetY);
      if (distance < least) [found, least] = [point, distance];
    }
    return found;
  };
  /** Two of them hold the places of the map that they are on. */
  const pinch = (event: PointerEvent) => {
    const [a, b] = [...pointers.current.values()];
    pointers.current.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    const [c, d] = [...pointers.current.values()];
    const factor = Math.hypot(c.x - d.x, c.y - d.y) / Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
    zoom(factor, (c.x + d.x) / 2, (c.y + d.y) / 2);
  };
  const move = (event: PointerEvent) => {
    if (pointers.current.size === 2) return pinch(event);
    const from = drag.current;
    if (!from) return setOver(nearest(event));
    const [dx, dy] = [event.offsetX - from.x, event.offsetY - from.y];
    if (!from.moved && Math.hypot(dx, dy) < 4) return;
    drag.current = { x: event.offsetX, y: event.offsetY, moved: true };
    pan(dx, dy);
  };
  const down = (event: PointerEvent) => {
    const at = { x: event.offsetX, y: event.offsetY };
    pointers.current.set(event.pointerId, at);
    drag.current = { ...at, moved: pointers.current.size > 1 };
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
  };
  const up = (event: PointerEvent) => {
    const point = !drag.current || drag.current.moved ? undefined : nearest(event);
    pointers.current.delete(event.pointerId);
    drag.current = undefined;
    if (point) showToken(point.id);
  };
  const key = (event: KeyboardEvent) => {
    const steps: Record<string, () => void> = {
      ArrowLeft: () => pan(40, 0),
      ArrowRight: () => pan(-40, 0),
      ArrowUp: () => pan(0, 40),
      ArrowDown: () => pan(0, -40),
      "+": () => zoom(1.3),
      "-": () => zoom(1 / 1.3),
    };
    if (!steps[event.key]) return;
    event.preventDefault();
    steps[event.key]();
  };
  return (
    <div class="map">
      <canvas
        ref={canvas}
        tabIndex={0}
        role="img"
        aria-label="Map of the recipe space: arrows move it, + and − zoom"
        style={{ cursor: over ? "pointer" : "grab" }}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerCancel={({ pointerId }) => {
          pointers.current.delete(pointerId);
          drag.current = undefined;
        }}
        onPointerLeave={() => setOver(undefined)}
        onKeyDown={key}
      />
      <div class="zoom">
        <button type="button" aria-label="Closer" onClick={() => zoom(1.5)}>
          +
        </button>
        <button type="button" aria-label="Further" onClick={() => zoom(1 / 1.5)}>
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

/** All of it, with a margin for words. */
function fit(points: readonly Point[], { width, height }: { width: number; height: number }): Frame {
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min((width - 90) / (right - left), (height - 40) / (high - low));
  return { x: (left + right) / 2, y: (low + high) / 2, scale: Math.max(scale, 1e-6) };
}

/** To what an eye can tell: it lives in the address. */
const rounded = ({ x, y, scale }: Frame): Frame => ({
  x: Number(x.toPrecision(5)),
  y: Number(y.toPrecision(5)),
  scale: Number(scale.toPrecision(5)),
});

const place = (
  { x, y }: Point,
  view: Frame,
  { width, height }: { width: number; height: number },
): [x: number, y: number] => [width / 2 + (x - view.x) * view.scale, height / 2 - (y - view.y) * view.scale];

function draw(
  canvas: HTMLCanvasElement,
  points: readonly Point[],
  view: Frame,
  { search, over, token }: { search: string; over?: Point; token?: number },
): void {
  const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d")!;
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  context.font = `12px ${style.fontFamily}`;
  context.textBaseline = "middle";
  const [ink, accent] = [style.color, style.accentColor];
  const isMarked = (point: Point) => point === over || point.id === token || matches(point, search);
  /** Words that are there already: another in their place would not be read. */
  const taken: { x: number; y: number; width: number }[] = [];
  const ordered = [...points.filter(isMarked), ...points.filter((point) => !isMarked(point))];
  for (const point of ordered) {
    const [x, y] = place(point, view, { width, height });
    if (x < -60 || y < -20 || x > width + 60 || y > height + 20) continue;
    const isMark = isMarked(point);
    const text = point.text.trim();
    const room = context.measureText(text).width + 10;
    context.fillStyle = isMark ? accent : ink;
    context.globalAlpha = isMark ? 1 : search === "" ? 0.75 : 0.3;
    context.beginPath();
    context.arc(x, y, isMark ? 4 : 1.8, 0, 2 * Math.PI);
    context.fill();
    const isFree = taken.every(
      (other) => Math.abs(other.y - y) > 13 || x > other.x + other.width || x + room < other.x,
    );
    if (!isMark && !isFree) continue;
    taken.push({ x, y, width: room });
    context.fillText(text, x + 6, y);
  }
}
