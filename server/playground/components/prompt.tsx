import type { TokenText } from "../engine/engine.ts";
import { useResource } from "../state/resource.ts";
import { state, update } from "../state/state.ts";
import { Tokens } from "./tokens.tsx";
import type { ViewProps } from "./view-props.ts";

/** The prompt as editable text, and its tokens. */
export function Prompt({ engine, choose, selected }: PromptProps) {
  const { prompt } = state.value;
  const tokens = useResource(prompt, () => engine.tokenize(prompt), { pause: 120 });
  return (
    <div class="prompt">
      <label for="prompt">Prompt</label>
      <textarea
        id="prompt"
        rows={2}
        spellcheck={false}
        value={prompt}
        onInput={(event) =>
          update({ prompt: event.currentTarget.value, position: undefined, cell: undefined })
        }
      />
      <p class="prompt-tokens">
        <Tokens label="Prompt tokens" tokens={tokens.value ?? []} choose={choose} selected={selected} />
      </p>
    </div>
  );
}

interface PromptProps extends Pick<ViewProps, "engine"> {
  choose?: (token: TokenText, index: number) => void;
  selected?: number;
}
