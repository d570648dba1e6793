import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Notice } from "./components/notice.tsx";
import type { ViewProps } from "./components/view-props.ts";
import type { Engine, ModelInfo } from "./engine/engine.ts";
import { hasKey } from "./engine/remote.ts";
import { VIEWS, type View } from "./state/address.ts";
import { useResource } from "./state/resource.ts";
import { clampLayers, hash, state, update } from "./state/state.ts";
import { Explain } from "./views/explain.tsx";
import { LensView } from "./views/lens.tsx";
import { MapView } from "./views/map.tsx";
import { Panel } from "./views/panel.tsx";
import { Patch } from "./views/patch.tsx";
import { Steer } from "./views/steer.tsx";

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
    clampLayers(info.layers);
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
        <Summary info={info.value} isLocal={isLocal} isLocalOnly={isLocalOnly} />
      </header>
      <Tabs />
      <main class={hasPanel ? "with-panel" : undefined}>
        <section class="view" id="view" role="tabpanel" aria-labelledby={`tab-${view}`}>
          {info.error && <Notice error={info.error} retry={() => setAttempt(attempt + 1)} />}
          {!info.value && !info.error && (
            <p class="quiet" role="status">
              {isLocal ? "Downloading the model …" : "Loading the model’s description …"}
            </p>
          )}
          {info.value && <Page engine={engine} info={info.value} />}
        </section>
        {info.value && hasPanel && <Panel engine={engine} info={info.value} />}
      </main>
    </>
  );
}

/** The model, where it runs, and a link that switches to the other engine. */
function Summary({
  info,
  isLocal,
  isLocalOnly,
}: {
  info?: ModelInfo;
  isLocal: boolean;
  isLocalOnly: boolean;
}) {
  const other = isLocal ? location.pathname : `${location.pathname}?local`;
  return (
    <div class="summary">
      {info && (
        <span class="model quiet">
          {info.name} ·{" "}
          <span title={`${info.parameters.toLocaleString("en")} parameters`}>
            {(info.parameters / 1e6).toFixed(1)} M parameters
          </span>{" "}
          · {info.layers} layers
          {info.signals > 0 && ` · ${info.signals} signals`} <span class="device">· {info.device}</span>
        </span>
      )}
      {!isLocalOnly && !hasKey() && <a href="docs">API</a>}
      <span class="quiet">
        Running {isLocal ? "in the browser" : "on the server"}
        {!isLocalOnly && (
          <>
            {" "}
            ·{" "}
            <a class="badge" href={other + hash()} onClick={(event) => switchEngine(event, other)}>
              {isLocal ? "Run on server" : "Run in browser"}
            </a>
          </>
        )}
      </span>
    </div>
  );
}

/** Opens the page with the other engine, with the current state: it may have changed since the link was rendered. */
function switchEngine(event: MouseEvent, address: string): void {
  // With a modifier key, the browser opens the link in a new tab or window.
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
