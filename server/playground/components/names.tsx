import { showSignal, showToken } from "../state/state.ts";

/** A token in a list, as a button that opens its panel. */
export function TokenName({ id, text }: { id: number; text: string }) {
  const name = text.replace(/^ /, "").replace(/\n/g, "↵") || "␣";
  const symbol = { "↵": "line break", "␣": "space" }[name];
  return (
    <button type="button" class="name" title={symbol} onClick={() => showToken(id)}>
      {name}
      {!text.startsWith(" ") && (
        <span class="mark" title="no leading space">
          ·
        </span>
      )}
    </button>
  );
}

/** A signal in a list, as a button that opens its panel. */
export function SignalName({ signal }: { signal: number }) {
  return (
    <button type="button" class="name" onClick={() => showSignal(signal)}>
      {signal}
    </button>
  );
}
