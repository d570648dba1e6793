import { useState } from "preact/hooks";
import type { Failure } from "./engine.ts";
import { enterKey } from "./remote.ts";

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
  const message = error.message.replace(
    /^interventions\[(\d+)\][.\w]*/,
    (_, i) => `intervention ${Number(i) + 1}`,
  );
  return (
    <div class="notice" role="alert">
      <p>{message[0]?.toUpperCase() + message.slice(1)}.</p>
      {help && <p class="quiet">{help[0].toUpperCase() + help.slice(1)}.</p>}
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
