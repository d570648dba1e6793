/** Beside every view: what a token is made of, or which tokens a signal is in. */
import { useLayoutEffect, useRef } from "preact/hooks";
import type { ViewProps } from "./app.tsx";
import { Bars } from "./bars.tsx";
import type { Intervention } from "./engine.ts";
import { Notice } from "./notice.tsx";
import { useResource } from "./resource.ts";
import {
  changes,
  type Item,
  interventionOf,
  newItem,
  promptChanges,
  showSignal,
  state,
  update,
} from "./state.ts";
import { percent } from "./steer.tsx";
import { TokenName, Tokens } from "./tokens.tsx";

export function Panel({ engine, info }: ViewProps) {
  const { token, signal } = state.value;
  const close = () => update({ token: undefined, signal: undefined });
  const place = useRef<HTMLElement>(null);
  // At once: a moment later what has the focus may be in the panel.
  useLayoutEffect(() => {
    const panel = place.current!;
    const opener = document.activeElement as HTMLElement | null;
    return () => {
      const { activeElement, body } = document;
      const wasInside = panel.contains(activeElement);
      // Who was in it goes back to where it was opened; to the view's tab where that is gone, as lists are drawn anew.
      if (opener?.isConnected && opener !== body) {
        if (wasInside || activeElement === body) opener.focus();
      } else if (wasInside) {
        document.querySelector<HTMLElement>("[role=tab][aria-selected=true]")?.focus();
      }
    };
  }, []);
  return (
    <aside ref={place} class="panel" aria-label={token === undefined ? "Signal" : "Token"}>
      <button type="button" class="close" aria-label="Close" onClick={close}>
        ✕
      </button>
      {token !== undefined && <TokenPanel key={token} engine={engine} info={info} id={token} />}
      {token === undefined && signal !== undefined && (
        <SignalPanel key={signal} engine={engine} info={info} id={signal} />
      )}
    </aside>
  );
}

const unitOf = ({ info }: Pick<ViewProps, "info">) => (info.signals > 0 ? "signal" : "dimension");

function TokenPanel({ engine, info, id }: ViewProps & { id: number }) {
  const { patch } = changes.value;
  const { value, error } = useResource(JSON.stringify([id, patch]), () => engine.token(id, patch));
  if (error) return <Notice error={error} />;
  if (!value) return <p class="quiet">Looking it up …</p>;
  const unit = unitOf({ info });
  const { text } = value;
  const item = itemOf({ kind: "token", text }, info);
  const isPart = text.includes("\ufffd");
  return (
    <>
      <h2>
        <code>{text.replace(/\n/g, "↵") || "␣"}</code>{" "}
        <small class="quiet">
          token {value.id}
          {patch && ", patched"}
        </small>
      </h2>
      {isPart ? (
        <p class="quiet">A part of a character: it has no text of its own, and can’t be named.</p>
      ) : (
        <>
          <div class="row">
            <button type="button" onClick={() => steerBy(item)}>
              Steer by it
            </button>
            <button type="button" onClick={() => update({ watch: text, view: "steer" })}>
              Watch its chance
            </button>
          </div>
          <Effect engine={engine} item={item} />
        </>
      )}
      <h3>Recipe: its largest {unit}s</h3>
      <Bars
        label="Recipe"
        bars={value.recipe.map(({ signal, weight }) => ({
          key: signal,
          value: weight,
          label: <SignalName signal={signal} />,
        }))}
      />
      <h3>Nearest neighbours</h3>
      <Bars
        label="Neighbours"
        bars={value.neighbours.map((near) => ({
          key: near.id,
          value: near.cosine,
          label: <TokenName {...near} />,
        }))}
      />
    </>
  );
}

export function SignalName({ signal }: { signal: number }) {
  return (
    <button type="button" class="name" onClick={() => showSignal(signal)}>
      {signal}
    </button>
  );
}

/** Of a model that may have few layers. */
const itemOf = (target: Pick<Item, "kind" | "text">, { layers }: ViewProps["info"]): Item => ({
  ...newItem(),
  last: Math.min(newItem().last, layers - 1),
  ...target,
});

const steerBy = (item: Item): void => update({ rack: [...state.value.rack, item], view: "steer" });

/** What the model would say next after the prompt, and what with a direction added. */
function Effect({ engine, item }: Pick<ViewProps, "engine"> & { item: Item }) {
  const { prompt } = state.value;
  const { patch } = changes.value;
  const { value, error, pending } = useResource(
    prompt === "" ? undefined : JSON.stringify([prompt, patch, item]),
    async (signal) => {
      const after = async (interventions: Intervention[]) => {
        const { cells } = await engine.lens({ text: prompt, interventions, patch }, signal);
        return cells.at(-1)!.at(-1)!.top;
      };
      return [await after([]), await after([interventionOf(item)])];
    },
    { pause: 150 },
  );
  if (prompt === "") return null;
  return (
    <section aria-label="What it does" aria-busy={pending}>
      <h3>What it does to the prompt’s next token</h3>
      {error && <p class="quiet">{error.message}</p>}
      <div class="effect">
        {value?.map((tokens, i) => (
          <div key={i}>
            <h4>{i === 0 ? "as it is" : `with ${item.amount} of it added`}</h4>
            <ol>
              {tokens.map((token) => (
                <li key={token.id}>
                  <TokenName {...token} /> <span class="quiet">{percent(token.probability)}</span>
                </li>
              ))}
            </ol>
          </div>
        ))}
      </div>
    </section>
  );
}

function SignalPanel({ engine, info, id }: ViewProps & { id: number }) {
  const { prompt } = state.value;
  const { patch } = changes.value;
  const { value, error } = useResource(JSON.stringify([id, patch]), () => engine.signal(id, patch));
  if (error) return <Notice error={error} />;
  if (!value) return <p class="quiet">Looking it up …</p>;
  const unit = unitOf({ info });
  const item = itemOf({ kind: "signal", text: String(id) }, info);
  const sides = [
    { title: "Tokens with most of it", entries: value.most },
    { title: "Tokens with least", entries: value.least },
  ];
  return (
    <>
      <h2>
        {unit} {value.signal}
        {patch && <small class="quiet">, patched</small>}
      </h2>
      {info.signals > 0 && (
        <div class="row">
          <button type="button" onClick={() => steerBy(item)}>
            Steer by it
          </button>
        </div>
      )}
      {info.signals > 0 && <Effect engine={engine} item={item} />}
      {info.signals > 0 && prompt !== "" && <Fires engine={engine} id={id} prompt={prompt} />}
      <h3>Codebook</h3>
      <div class="codebook">
        {sides.map(({ title, entries }) => (
          <div key={title}>
            <h4>{title}</h4>
            <Bars
              label={title}
              bars={entries.map((entry) => ({
                key: entry.id,
                value: entry.weight,
                label: <TokenName {...entry} />,
              }))}
            />
          </div>
        ))}
      </div>
    </>
  );
}

/** A signal's readings in the prompt. */
function Fires({ engine, id, prompt }: Pick<ViewProps, "engine"> & { id: number; prompt: string }) {
  const changes = promptChanges.value;
  const fires = useResource(
    JSON.stringify([id, prompt, changes]),
    async () => ({
      tokens: await engine.tokenize(prompt),
      values: await engine.fires({ text: prompt, signal: id, ...changes }),
    }),
    { pause: 150 },
  );
  if (fires.error) return <Notice error={fires.error} />;
  const { tokens, values } = fires.value ?? { tokens: [], values: [] };
  const most = Math.max(...values.map(Math.abs), 1e-9);
  return (
    <>
      <h3>Where it fires in the prompt</h3>
      <p>
        <Tokens
          label="Readings"
          tokens={tokens.map((token, i) => ({
            ...token,
            tint: Math.abs(values[i]) / most,
            tone: values[i] < 0 ? "minus" : "plus",
            title: values[i]?.toFixed(2),
          }))}
        />
      </p>
    </>
  );
}
