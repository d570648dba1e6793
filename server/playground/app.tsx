import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Engine, ModelInfo } from "./engine.ts";
import { Explain } from "./explain.tsx";
import { LensView } from "./lens.tsx";
import { MapView } from "./map.tsx";
import { Notice } from "./notice.tsx";
import { Panel } from "./panel.tsx";
import { Patch } from "./patch.tsx";
import { hasKey } from "./remote.ts";
import { useResource } from "./resource.ts";
import { fitLayers, hash, state, update, VIEWS, type View } from "./state.ts";
import { Steer } from "./steer.tsx";

export interface ViewProps {
  engine: Engine;
  info: ModelInfo;
}

const PAGES: Record<View, { title: string; Page: ComponentType<ViewProps> }> = {
  steer: { title: "Steer", Page: Steer },
  explain: { title: "Explain", Page: Explain },
  lens: { title: "Lens", Page: LensView },
  map: { title: "Map", Page: MapView },
  patch: { title: "Patch", Page: Patch },
};

export function App({
  engine,
  isLocal,
  isLocalOnly,
}: {
  engine: Engine;
  isLocal: boolean;
  isLocalOnly: boolean;
}) {
  const [attempt, setAttempt] = useState(0);
  const info = useResource(String(attempt), async () => {
    const info = await engine.info();
    fitLayers(info.layers);
    return info;
  });
  const { view, token, signal } = state.value;
  const { Page } = PAGES[view];
  const hasPanel = token !== undefined || signal !== undefined;
  useEffect(() => {
    const close = (event: KeyboardEvent) => {
      if (event.key === "Escape") update({ token: undefined, signal: undefined });
    };
    addEventListener("keydown", close);
    return () => removeEventListener("keydown", close);
  }, []);
  return (
    <>
      <header>
        <h1>
          re<b>Flow</b> <small>playground</small>
        </h1>
        <Where info={info.value} isLocal={isLocal} isLocalOnly={isLocalOnly} />
      </header>
      <Tabs />
      <main class={hasPanel ? "with-panel" : undefined}>
        <section class="view" id="view" role="tabpanel" aria-labelledby={`tab-${view}`}>
          {info.error && <Notice error={info.error} retry={() => setAttempt(attempt + 1)} />}
          {!info.value && !info.error && (
            <p class="quiet" role="status">
              {isLocal ? "Fetching the model into this page …" : "Asking the server …"}
            </p>
          )}
          {info.value && <Page engine={engine} info={info.value} />}
        </section>
        {info.value && hasPanel && <Panel engine={engine} info={info.value} />}
      </main>
    </>
  );
}

/** Which model this is, where it runs, and the way to the other engine. */
function Where({ info, isLocal, isLocalOnly }: { info?: ModelInfo; isLocal: boolean; isLocalOnly: boolean }) {
  const other = isLocal ? location.pathname : `${location.pathname}?local`;
  return (
    <div class="where">
      {info && (
        <span class="quiet">
          {info.name} · {(info.parameters / 1e6).toFixed(1)} M parameters · {info.layers} layers
          {info.signals > 0 && ` · ${info.signals} signals`} <span class="device">· {info.device}</span>
        </span>
      )}
      {!isLocalOnly && !hasKey() && <a href="docs">API</a>}
      {isLocalOnly ? (
        <span class="badge">runs in this browser</span>
      ) : (
        <a class="badge" href={other + hash()} onClick={(event) => carryOver(event, other)}>
          {isLocal ? "in this browser: use the server" : "on the server: use this browser"}
        </a>
      )}
    </div>
  );
}

/** The address may have changed since the link was drawn. */
function carryOver(event: MouseEvent, address: string): void {
  // Another tab is the browser's to open.
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  location.href = address + hash();
}

function Tabs() {
  const { view } = state.value;
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = VIEWS[(VIEWS.indexOf(view) + step + VIEWS.length) % VIEWS.length];
    update({ view: next });
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Views" onKeyDown={move}>
      {VIEWS.map((each) => (
        <button
          key={each}
          type="button"
          role="tab"
          id={`tab-${each}`}
          aria-selected={each === view}
          aria-controls="view"
          tabIndex={each === view ? 0 : -1}
          onClick={() => update({ view: each })}
        >
          {PAGES[each].title}
        </button>
      ))}
    </div>
  );
}
