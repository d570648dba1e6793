import { useState } from "preact/hooks";
import type { ViewProps } from "./app.tsx";
import type { BlastRadius, Failure, PatchChoice } from "./engine.ts";
import { Notice } from "./notice.tsx";
import { useResource } from "./resource.ts";
import { isNothing, state, update } from "./state.ts";
import { TokenName } from "./tokens.tsx";

/** Edits what tokens are made of, and shows what else that changes. */
export function Patch({ engine, info }: ViewProps) {
  const { patch, patched, prompt } = state.value;
  const [saves, setSaves] = useState(0);
  const isEmpty = isNothing(patch);
  const radius = useResource(
    isEmpty ? undefined : JSON.stringify([patch, prompt, saves]),
    (signal) => engine.blastRadius(patch, prompt, signal),
    { pause: 500 },
  );
  const name = "name" in patch ? patch.name : undefined;
  const kept = useResource(name, async () => ({ name, expression: await engine.expressionOf(name!) }));
  const keptExpression = kept.value?.name === name ? kept.value?.expression : undefined;
  const names = useResource(String(saves), () => engine.patches());
  if (info.signals === 0)
    return <p class="quiet">This model’s embedding is not factored: it has no recipes.</p>;
  return (
    <>
      <label for="patch">Gene patch: what to add to tokens’ recipes</label>
      <textarea
        id="patch"
        rows={2}
        spellcheck={false}
        value={"expression" in patch ? patch.expression : keptExpression}
        placeholder={name && `“${name}” was kept as edits: type to write another`}
        onInput={(event) => update({ patch: { expression: event.currentTarget.value } })}
      />
      <div class="row settings">
        <label class="check">
          <input type="checkbox" checked={patched} onChange={() => update({ patched: !patched })} /> apply it
          in the other views
        </label>
        <Kept engine={engine} patch={patch} names={names.value ?? []} onChange={() => setSaves(saves + 1)} />
      </div>
      {radius.error && <Notice error={radius.error} />}
      {radius.pending && !radius.value && !isEmpty && <p class="quiet">Looking at what it changes …</p>}
      {radius.value && <Radius radius={radius.value} pending={radius.pending} />}
    </>
  );
}

/** Patches by name: to keep this one, to take another, to forget it. */
function Kept({
  engine,
  patch,
  names,
  onChange,
}: Pick<ViewProps, "engine"> & { patch: PatchChoice; names: string[]; onChange: () => void }) {
  const chosen = "name" in patch ? patch.name : "";
  const [name, setName] = useState(chosen);
  const [error, setError] = useState<Failure>();
  const attempt = async (action: () => Promise<void>) => {
    try {
      await action();
      setError(undefined);
      onChange();
    } catch (error) {
      setError(error as Failure);
    }
  };
  const save = (event: Event) => {
    event.preventDefault();
    if ("expression" in patch) attempt(() => engine.savePatch(name, patch.expression));
  };
  const forget = async () => {
    await engine.deletePatch(chosen);
    update({ patch: { expression: "" }, patched: false });
  };
  return (
    <>
      {"expression" in patch && (
        <form class="row" onSubmit={save}>
          <label>
            Keep it as{" "}
            <input
              class="short"
              required
              pattern="[a-zA-Z0-9][a-zA-Z0-9._\-]{0,63}"
              title="letters, digits, dots, dashes and underscores"
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
            />
          </label>
          <button type="submit">{names.includes(name) ? "Replace" : "Keep"}</button>
        </form>
      )}
      {(names.length > 0 || chosen) && (
        <label>
          Load{" "}
          <select
            value={chosen}
            onChange={(event) => {
              const { value } = event.currentTarget;
              if (value === "") return;
              update({ patch: { name: value } });
              // What is changed in it takes its place, unless it is given another name.
              setName(value);
            }}
          >
            <option value="">…</option>
            {names.map((each) => (
              <option key={each} value={each}>
                {each}
              </option>
            ))}
          </select>
        </label>
      )}
      {chosen && (
        <button type="button" onClick={() => attempt(forget)}>
          Forget “{chosen}”
        </button>
      )}
      {error && <Notice error={error} />}
    </>
  );
}

function Radius({ radius, pending }: { radius: BlastRadius; pending: boolean }) {
  const { edits, edited, neighbours, divergence, analogies, bytes } = radius;
  const figures = [
    ["edits of R", whole(edits)],
    ["tokens edited", whole(edited.count)],
    [
      `other tokens with other nearest ${neighbours.top}`,
      `${whole(neighbours.moved)} of ${whole(neighbours.of)}`,
    ],
    ...(divergence ? [["nats of KL on the prompt, on average", divergence.mean.toPrecision(2)]] : []),
    ...(analogies
      ? [
          [
            "built-in analogies right, before and after",
            `${analogies.right.before} → ${analogies.right.after}`,
          ],
        ]
      : []),
    ["bytes as a file", whole(bytes)],
  ] as const;
  return (
    <section aria-label="Blast radius" aria-busy={pending} class="radius">
      <h2>Blast radius</h2>
      <dl class="figures">
        {figures.map(([label, value]) => (
          <div key={label}>
            <dd>{value}</dd>
            <dt>{label}</dt>
          </div>
        ))}
      </dl>
      <div class="columns">
        <div>
          <h3>Edited tokens and their neighbours</h3>
          {edited.most.slice(0, 8).map((token) => (
            <div key={token.id} class="change">
              <TokenName {...token} />
              <p>
                <span class="quiet">was near</span> <Names tokens={token.before} />
              </p>
              <p>
                <span class="quiet">is near</span> <Names tokens={token.after} />
              </p>
            </div>
          ))}
        </div>
        <div>
          <h3>Others whose neighbours changed most</h3>
          {neighbours.most.length === 0 && <p class="quiet">None.</p>}
          {neighbours.most.slice(0, 10).map((token) => (
            <div key={token.id} class="change">
              <TokenName {...token} />
              <p>
                <span class="plus">+</span> <Names tokens={token.gained} /> <span class="minus">−</span>{" "}
                <Names tokens={token.lost} />
              </p>
            </div>
          ))}
        </div>
      </div>
      {analogies && analogies.changed.length > 0 && (
        <>
          <h3>Analogies with another answer</h3>
          <ul class="analogies">
            {analogies.changed.slice(0, 8).map(({ question: [a, b, c], before, after }) => (
              <li key={`${a.id} ${b.id} ${c.id}`} class="change">
                <TokenName {...a} /> is to <TokenName {...b} /> as <TokenName {...c} /> to{" "}
                <TokenName {...before} />
                <span class="quiet">, now</span> <TokenName {...after} />
              </li>
            ))}
          </ul>
          {analogies.changed.length > 8 && <p class="quiet">And {analogies.changed.length - 8} more.</p>}
        </>
      )}
    </section>
  );
}

const whole = (value: number): string => value.toLocaleString("en");

function Names({ tokens }: { tokens: readonly { id: number; text: string }[] }) {
  return (
    <>
      {tokens.slice(0, 6).map((token) => (
        <TokenName key={token.id} {...token} />
      ))}
    </>
  );
}
