import { useState } from "preact/hooks";
import { showToken } from "../state/state.ts";

export interface ShownToken {
  id: number;
  text: string;
  /** Strength of the tint, from 0 to 1. */
  tint?: number;
  /** Colour of the tint. */
  tone?: "plus" | "minus" | "surprise";
  title?: string;
}

/** Text as a row of token buttons. The Tab key reaches the row as a whole; arrow keys move within it. */
export function Tokens({
  tokens,
  label,
  selected,
  choose = ({ id }) => showToken(id),
}: {
  tokens: readonly ShownToken[];
  label: string;
  selected?: number;
  choose?: (token: ShownToken, index: number) => void;
}) {
  const [focused, setFocused] = useState(0);
  const tabbable = Math.min(focused, tokens.length - 1);
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const list = event.currentTarget as HTMLElement;
    const next = list.children[tabbable + (step ?? 0)] as HTMLElement | undefined;
    if (!step || !next) return;
    event.preventDefault();
    setFocused(tabbable + step);
    next.focus();
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset groups form controls; this is running text.
    <span class="tokens" role="group" aria-label={label} onKeyDown={move}>
      {tokens.map((token, i) => (
        <button
          key={i}
          type="button"
          class={`token ${token.tone ?? ""}`}
          style={token.tint ? { "--tint": token.tint.toFixed(2) } : undefined}
          tabIndex={i === tabbable ? 0 : -1}
          aria-pressed={selected === undefined ? undefined : selected === i}
          title={token.title}
          onFocus={() => setFocused(i)}
          onClick={() => choose(token, i)}
        >
          {visible(token.text)}
        </button>
      ))}
    </span>
  );
}

/** A token's text with visible line breaks. */
const visible = (text: string): string => text.replace(/\n/g, "↵\n");
