/** Beside every view: what a token is made of, or which tokens a signal is in. */
import type { ViewProps } from "./app.tsx";
import { Bars } from "./bars.tsx";
import { Notice } from "./notice.tsx";
import { useResource } from "./resource.ts";
import { newItem, showSignal, state, update } from "./state.ts";
import { TokenName, Tokens } from "./tokens.tsx";

export function Panel({ engine, info }: ViewProps) {
  const { token, signal } = state.value;
  const close = () => update({ token: undefined, signal: undefined });
  return (
    <aside class="panel" aria-label={token === undefined ? "Signal" : "Token"}>
      <button type="button" class="close" aria-label="Close" onClick={close}>
        ✕
      </button>
      {token !== undefined && <TokenPanel engine={engine} info={info} id={token} />}
      {token === undefined && signal !== undefined && <SignalPanel engine={engine} info={info} id={signal} />}
    </aside>
  );
}

const unitOf = ({ info }: Pick<ViewProps, "info">) => (info.signals > 0 ? "signal" : "dimension");

function TokenPanel({ engine, info, id }: ViewProps & { id: number }) {
  const { value, error } = useResource(String(id), () => engine.token(id));
  if (error) return <Notice error={error} />;
  if (!value) return <p class="quiet">Looking it up …</p>;
  const unit = unitOf({ info });
  const { text } = value;
  return (
    <>
      <h2>
        <code>{text.replace(/\n/g, "↵") || "␣"}</code> <small class="quiet">token {value.id}</small>
      </h2>
      <div class="row">
        <button type="button" onClick={() => steerBy({ kind: "token", text })}>
          Steer by it
        </button>
        <button type="button" onClick={() => update({ watch: text, view: "steer" })}>
          Watch its chance
        </button>
      </div>
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

function steerBy(target: { kind: "token" | "signal"; text: string }): void {
  const item = { ...newItem(), ...target };
  update({ rack: [...state.value.rack, item], view: "steer" });
}

function SignalPanel({ engine, info, id }: ViewProps & { id: number }) {
  const { prompt } = state.value;
  const { value, error } = useResource(String(id), () => engine.signal(id));
  if (error) return <Notice error={error} />;
  if (!value) return <p class="quiet">Looking it up …</p>;
  const unit = unitOf({ info });
  const sides = [
    { title: "Tokens with most of it", entries: value.most },
    { title: "Tokens with least", entries: value.least },
  ];
  return (
    <>
      <h2>
        {unit} {value.signal}
      </h2>
      {info.signals > 0 && (
        <div class="row">
          <button type="button" onClick={() => steerBy({ kind: "signal", text: String(id) })}>
            Steer by it
          </button>
        </div>
      )}
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
  const fires = useResource(
    JSON.stringify([id, prompt]),
    async () => ({ tokens: await engine.tokenize(prompt), values: await engine.fires(prompt, id) }),
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
