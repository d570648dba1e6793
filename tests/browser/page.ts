// Runs in a page: trains and samples on the device named in the query (`?wasm`, `?webgpu`), and shows the results.
import type { DeviceName } from "../../runtime/backend/contract/device-name.ts";
import { type Trial, tryDevice } from "./trial.ts";

const show = (id: string, text: string) => {
  document.getElementById(id)!.textContent = text;
};

async function run(): Promise<Trial> {
  const device = location.search.slice(1) as DeviceName;
  const assets = new URL("reflow/", document.baseURI);
  const trial = await tryDevice("models/tiny", { device, threads: 2, assets });
  show("device", trial.device);
  const table = document.getElementById("losses") as HTMLTableElement;
  for (const [i, loss] of trial.losses.entries()) {
    const row = table.insertRow();
    row.insertCell().textContent = `step ${i + 1}`;
    row.insertCell().textContent = loss.toFixed(4);
  }
  show("text", `the${trial.trained}`);
  return trial;
}

const report = run();
report.catch((error: unknown) => show("device", String(error)));
Object.assign(globalThis, { report });
