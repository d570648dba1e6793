import { useState } from "preact/hooks";
import type { Failure } from "../engine/engine.ts";
import { enterKey } from "../engine/remote.ts";
import { isApplied, isForPrompt, type RackItem } from "../state/rack.ts";
import { state } from "../state/state.ts";

/** An error and its remedy. If the server requires an API key, the notice contains a form to enter it. */
export function Notice({ error, retry }: { error: Failure; retry?: () => void }) {
  const [key, setKey] = useState("");
  const enter = (event: Event) => {
    event.preventDefault();
    enterKey(key);
    if (retry) retry();
    else location.reload();
  };
  const { help, code } = error;
  // The server counts only the interventions that were sent; the message gives their numbers on the page.
  const { rack, view } = state.value;
  const isSent = (item: RackItem) => isApplied(item) && (view === "steer" || isForPrompt(item));
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
            API key{" "}
            <input
              type="password"
              autocomplete="off"
              value={key}
              onInput={(event) => setKey(event.currentTarget.value)}
            />
          </label>
          <button type="submit">Use API key</button>
        </form>
      )}
    </div>
  );
}

const sentence = (text: string): string =>
  text.slice(0, 1).toUpperCase() + text.slice(1) + (/[.?!…]$/.test(text) ? "" : ".");
