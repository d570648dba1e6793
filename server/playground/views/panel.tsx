/** The panel beside every view: the recipe of a token, or the tokens that use a signal. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { Bars } from "../components/bars.tsx";
import { percent } from "../components/format.ts";
import { SignalName, TokenName } from "../components/names.tsx";
import { Notice } from "../components/notice.tsx";
import { Tokens } from "../components/tokens.tsx";
import type { ViewProps } from "../components/view-props.ts";
import type { Intervention } from "../engine/engine.ts";
import { interventionOf, newRackItem, type RackItem } from "../state/rack.ts";
import { useResource } from "../state/resource.ts";
import { changes, promptChanges, state, update } from "../state/state.ts";

export function Panel({ engine, info }: ViewProps) {
  const { token, signal } = state.value;
  const close = () => update({ token: undefined, signal: undefined });
  const container = useRef<HTMLElement>(null);
  // Not a plain effect: by the time that one runs, the focus may already be inside the panel.
  useLayoutEffect(() => {
    const panel = container.current!;
    const opener = document.activeElement as HTMLElement | null;
    return () => {
      const { activeElement, body } = document;
      const wasInside = panel.contains(activeElement);
      // Returns the focus to the element that opened the panel, or to the view's tab if that element is gone.
      if (opener?.isConnected && opener !== body) {
        if (wasInside || activeElement === body) opener.focus();
      } else if (wasInside) {
        document.querySelector<HTMLElement>("[role=tab][aria-selected=true]")?.focus();
      }
    };
  }, []);
  return (
    <aside ref={container} class="panel" aria-label={token === undefined ? "Signal" : "Token"}>
      <button type="button" class="close" aria-label="Close" title="Close panel" onClick={close}>
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
  if (!value) return <p class="quiet">Loading …</p>;
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
        <p class="quiet">
          This token is a part of a multi-byte character. It has no text of its own, so it cannot be a target.
        </p>
      ) : (
        <>
          <div class="row">
            <button type="button" onClick={() => steerWith(item)}>
              Steer with this token
            </button>
            <button type="button" onClick={() => update({ watch: text, view: "steer" })}>
              Track probability
            </button>
          </div>
          <Effect engine={engine} item={item} />
        </>
      )}
      <h3 title={`weights of the ${unit}s that make up the token’s embedding`}>Recipe: largest {unit}s</h3>
      <Bars
        label="Recipe"
        bars={value.recipe.map(({ signal, weight }) => ({
          key: signal,
          value: weight,
          label: <SignalName signal={signal} />,
        }))}
      />
      <h3 title="tokens with the most similar embeddings, by cosine similarity">Nearest neighbours</h3>
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

/** A new intervention on a target, limited to the layers that the model has. */
const itemOf = (target: Pick<RackItem, "kind" | "text">, { layers }: ViewProps["info"]): RackItem => ({
  ...newRackItem(),
  last: Math.min(newRackItem().last, layers - 1),
  ...target,
});

const steerWith = (item: RackItem): void => update({ rack: [...state.value.rack, item], view: "steer" });

/** The most likely next tokens after the prompt, without and with a direction added. */
function Effect({ engine, item }: Pick<ViewProps, "engine"> & { item: RackItem }) {
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
    <section aria-label="Effect" aria-busy={pending}>
      <h3>Effect on the prompt’s next token</h3>
      {error && <p class="quiet">{error.message}</p>}
      <div class="effect">
        {value?.map((tokens, i) => (
          <div key={i}>
            <h4>{i === 0 ? "unmodified" : `with ${item.amount} × residual norm added`}</h4>
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
  if (!value) return <p class="quiet">Loading …</p>;
  const unit = unitOf({ info });
  const item = itemOf({ kind: "signal", text: String(id) }, info);
  const sides = [
    { title: "Tokens with the highest weight", entries: value.most },
    { title: "Tokens with the lowest weight", entries: value.least },
  ];
  return (
    <>
      <h2>
        {unit} {value.signal}
        {patch && <small class="quiet">, patched</small>}
      </h2>
      {info.signals > 0 && (
        <div class="row">
          <button type="button" onClick={() => steerWith(item)}>
            Steer with this signal
          </button>
        </div>
      )}
      {info.signals > 0 && <Effect engine={engine} item={item} />}
      {info.signals > 0 && prompt !== "" && <Activations engine={engine} id={id} prompt={prompt} />}
      <h3 title="tokens with the largest weights, of either sign, in this column of the recipe matrix">
        Codebook
      </h3>
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

/** The activations of a signal at the prompt's tokens. */
function Activations({ engine, id, prompt }: Pick<ViewProps, "engine"> & { id: number; prompt: string }) {
  const changes = promptChanges.value;
  const activations = useResource(
    JSON.stringify([id, prompt, changes]),
    async () => ({
      tokens: await engine.tokenize(prompt),
      values: await engine.activations({ text: prompt, signal: id, ...changes }),
    }),
    { pause: 150 },
  );
  if (activations.error) return <Notice error={activations.error} />;
  const { tokens, values } = activations.value ?? { tokens: [], values: [] };
  const largest = Math.max(...values.map(Math.abs), 1e-9);
  return (
    <>
      <h3>Activation on the prompt</h3>
      <p>
        <Tokens
          label="Activations"
          tokens={tokens.map((token, i) => ({
            ...token,
            tint: Math.abs(values[i]) / largest,
            tone: values[i] < 0 ? "minus" : "plus",
            title: values[i] === undefined ? undefined : `activation ${values[i].toFixed(2)}`,
          }))}
        />
      </p>
    </>
  );
}
