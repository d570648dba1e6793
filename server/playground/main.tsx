import { render } from "preact";
import { App } from "./app.tsx";
import { startLocal } from "./engine/local.ts";
import { remote } from "./engine/remote.ts";
import { bindAddress } from "./state/state.ts";

const isLocalOnly =
  document.querySelector<HTMLMetaElement>('meta[name="reflow-engine"]')?.content === "local";
const isLocal = isLocalOnly || new URLSearchParams(location.search).has("local");

bindAddress();
render(
  <App engine={isLocal ? startLocal() : remote} isLocal={isLocal} isLocalOnly={isLocalOnly} />,
  document.getElementById("app")!,
);
