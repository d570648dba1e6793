import { useState } from "preact/hooks";
import { TokenName } from "../components/names.tsx";
import { Notice } from "../components/notice.tsx";
import type { ViewProps } from "../components/view-props.ts";
import type { BlastRadius, Failure, PatchChoice } from "../engine/engine.ts";
import { useResource } from "../state/resource.ts";
import { isEmptyPatch, state, update } from "../state/state.ts";

/** Edits the recipes of tokens, and shows the side effects of the edits. */
export function Patch({ engine, info }: ViewProps) {
  const { patch, patched, prompt } = state.value;
  const [saves, setSaves] = useState(0);
  const isEmpty = isEmptyPatch(patch);
  const radius = useResource(
    isEmpty ? undefined : JSON.stringify([patch, prompt, saves]),
    (signal) => engine.blastRadius(patch, prompt, signal),
    { pause: 500 },
  );
  const name = "name" in patch ? patch.name : undefined;
  const saved = useResource(name, async () => ({ name, expression: await engine.patchExpression(name!) }));
  const savedExpression = saved.value?.name === name ? saved.value?.expression : undefined;
  const names = useResource(String(saves), () => engine.patches());
  if (info.signals === 0)
    return <p class="quiet">This model’s embedding is not factored, so it has no recipes to patch.</p>;
  return (
    <>
      <label for="patch">Gene patch: edits to token recipes</label>
      <textarea
        id="patch"
        rows={2}
        spellcheck={false}
        value={"expression" in patch ? patch.expression : savedExpression}
        placeholder={name && `“${name}” was saved as a list of edits: type to write a new patch`}
        onInput={(event) => update({ patch: { expression: event.currentTarget.value } })}
      />
      <div class="row settings">
        <label class="check">
          <input type="checkbox" checked={patched} onChange={() => update({ patched: !patched })} /> Apply in
          the other views
        </label>
        <SavedPatches
          engine={engine}
          patch={patch}
          names={names.value ?? []}
          onChange={() => setSaves(saves + 1)}
        />
      </div>
      {radius.error && <Notice error={radius.error} />}
      {radius.pending && !radius.value && !isEmpty && <p class="quiet">Computing the side effects …</p>}
      {radius.value && <Radius radius={radius.value} pending={radius.pending} />}
    </>
  );
}

/** Saves the current patch under a name, and loads and deletes saved patches. */
function SavedPatches({
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
  const remove = async () => {
    await engine.deletePatch(chosen);
    update({ patch: { expression: "" }, patched: false });
  };
  return (
    <>
      {"expression" in patch && (
        <form class="row" onSubmit={save}>
          <label>
            Save as{" "}
            <input
              class="short"
              required
              pattern="[a-zA-Z0-9][a-zA-Z0-9._\-]{0,63}"
              title="1 to 64 letters, digits, dots, dashes and underscores, starting with a letter or a digit"
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
            />
          </label>
          <button type="submit">{names.includes(name) ? "Replace patch" : "Save patch"}</button>
        </form>
      )}
      {(names.length > 0 || chosen) && (
        <label>
          Load patch{" "}
          <select
            value={chosen}
            onChange={(event) => {
              const { value } = event.currentTarget;
              if (value === "") return;
              update({ patch: { name: value } });
              // An edited patch is saved under the same name by default.
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
        <button type="button" onClick={() => attempt(remove)}>
          Delete patch “{chosen}”
        </button>
      )}
      {error && <Notice error={error} />}
    </>
  );
}

function Radius({ radius, pending }: { radius: BlastRadius; pending: boolean }) {
  const { edits, edited, neighbours, divergence, analogies, bytes } = radius;
  const figures: readonly (readonly [label: string, value: string, title?: string])[] = [
    [
      "edited entries of R",
      whole(edits),
      "R is the matrix of recipes: one row for each token, one column for each signal",
    ],
    ["edited tokens", whole(edited.count)],
    [
      `other tokens whose ${neighbours.top} nearest neighbours changed`,
      `${whole(neighbours.moved)} of ${whole(neighbours.of)}`,
    ],
    ...(divergence
      ? [
          [
            "mean KL divergence on the prompt (nats)",
            divergence.mean.toPrecision(2),
            "Kullback–Leibler divergence of the next-token distributions, in units of the natural logarithm",
          ] as const,
        ]
      : []),
    ...(analogies
      ? [
          [
            "built-in analogies correct, before → after",
            `${analogies.right.before} → ${analogies.right.after}`,
          ] as const,
        ]
      : []),
    ["bytes as a patch file", whole(bytes)],
  ];
  return (
    <section aria-label="Blast radius" aria-busy={pending} class="radius">
      <h2>Blast radius</h2>
      <dl class="figures">
        {figures.map(([label, value, title]) => (
          <div key={label} title={title}>
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
                <span class="quiet">before:</span> <Names tokens={token.before} />
              </p>
              <p>
                <span class="quiet">after:</span> <Names tokens={token.after} />
              </p>
            </div>
          ))}
        </div>
        <div>
          <h3>Other tokens whose neighbours changed most</h3>
          {neighbours.most.length === 0 && <p class="quiet">None.</p>}
          {neighbours.most.slice(0, 10).map((token) => (
            <div key={token.id} class="change">
              <TokenName {...token} />
              <p>
                <span class="plus" title="new neighbours">
                  +
                </span>{" "}
                <Names tokens={token.gained} />{" "}
                <span class="minus" title="lost neighbours">
                  −
                </span>{" "}
                <Names tokens={token.lost} />
              </p>
            </div>
          ))}
        </div>
      </div>
      {analogies && analogies.changed.length > 0 && (
        <>
          <h3>Analogies whose answer changed</h3>
          <ul class="analogies">
            {analogies.changed.slice(0, 8).map(({ question: [a, b, c], before, after }) => (
              <li key={`${a.id} ${b.id} ${c.id}`} class="change">
                <TokenName {...a} /> is to <TokenName {...b} /> as <TokenName {...c} /> to{" "}
                <TokenName {...before} />
                <span class="quiet" title="answer before and after the patch">
                  →
                </span>{" "}
                <TokenName {...after} />
              </li>
            ))}
          </ul>
          {analogies.changed.length > 8 && (
            <p class="quiet">{analogies.changed.length - 8} more analogies changed.</p>
          )}
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
