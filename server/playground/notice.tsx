import { useState } from "preact/hooks";
import type { Failure } from "./engine.ts";
import { enterKey } from "./remote.ts";
import { type Item, isApplied, isForPrompt, state } from "./state.ts";

/** What went wrong, and what to do about it; where a server wants a key, a place to enter it. */
export function Notice({ error, retry }: { error: Failure; retry?: () => void }) {
  const [key, setKey] = useState("");
  const enter = (event: Event) => {
    event.preventDefault();
    enterKey(key);
    if (retry) retry();
    else location.reload();
  };
  const { help, code } = error;
  // The others of the rack were not sent.
  const { rack, view } = state.value;
  const isSent = (item: Item) => isApplied(item) && (view === "steer" || isForPrompt(item));
  const sent = rack.flatMap((item, i) => (isSent(item) ? [i + 1] : []));
  const message = error.message.replace(
    /^interventions\[(\d+)\](?:\.([\w.[\]]+))?/,
    (_, i, field) => `intervention ${sent[i] ?? Number(i) + 1}${field ? `, ${field}` : ""}`,
  );
  return (
    <div class="notice" role="alert">
      <p>{sentence(message)}</p>
      {help && <p class="quiet">{sentence(help)}</p>}
      {code === "authentication_error" && (
        <form class="row" onSubmit={enter}>
          <label>
            Key{" "}
            <input
              type="password"
              autocomplete="off"
              value={key}
              onInput={(event) => setKey(event.currentTarget.value)}
            />
          </label>
          <button type="submit">Use it</button>
        </form>
      )}
    </div>
  );
}

const sentence = (text: string): string =>
  text.slice(0, 1).toUpperCase() + text.slice(1) + (/[.?!…]$/.test(text) ? "" : ".");
