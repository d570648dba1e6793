import { useState } from "preact/hooks";
import { showToken } from "./state.ts";

export interface Shown {
  id: number;
  text: string;
  /** 0 to 1: how strongly it is tinted. */
  tint?: number;
  /** The colour of the tint. */
  tone?: "plus" | "minus" | "surprise";
  title?: string;
}

/** Text as tokens that can be clicked: a single stop of the tab key, and arrows within. */
export function Tokens({
  tokens,
  label,
  selected,
  choose = ({ id }) => showToken(id),
}: {
  tokens: readonly Shown[];
  label: string;
  selected?: number;
  choose?: (token: Shown, index: number) => void;
}) {
  const [at, setAt] = useState(0);
  const stop = Math.min(at, tokens.length - 1);
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const list = event.currentTarget as HTMLElement;
    const next = list.children[stop + (step ?? 0)] as HTMLElement | undefined;
    if (!step || !next) return;
    event.preventDefault();
    setAt(stop + step);
    next.focus();
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset would be a form's; this is a text.
    <span class="tokens" role="group" aria-label={label} onKeyDown={move}>
      {tokens.map((token, i) => (
        <button
          key={i}
          type="button"
          class={`token ${token.tone ?? ""}`}
          style={token.tint ? { "--tint": token.tint.toFixed(2) } : undefined}
          tabIndex={i === stop ? 0 : -1}
          aria-pressed={selected === undefined ? undefined : selected === i}
          title={token.title}
          onFocus={() => setAt(i)}
          onClick={() => choose(token, i)}
        >
          {visible(token.text)}
        </button>
      ))}
    </span>
  );
}

/** A token's text, with a sign for a line's end. */
export const visible = (text: string): string => text.replace(/\n/g, "↵\n");

/** A token in a list. */
export function TokenName({ id, text }: { id: number; text: string }) {
  return (
    <button type="button" class="name" onClick={() => showToken(id)}>
      {text.replace(/^ /, "").replace(/\n/g, "↵") || "␣"}
      {!text.startsWith(" ") && (
        <span class="mark" title="without a space before it">
          ·
        </span>
      )}
    </button>
  );
}
