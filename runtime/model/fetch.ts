/** Fetches checkpoints over HTTP onto a device, for pages and workers without a file system. */
import { ReflowError } from "../common/errors.ts";
import { parseConfig } from "../config/config.ts";
import { checkTensors, WEIGHT_FILES, type WeightFormat } from "../formats/checkpoint-tensors.ts";
import { openTensorStream, type TensorStream } from "../formats/tensor-stream.ts";
import type { Model } from "./model.ts";
import { type LoadModelOptions, startModel } from "./read.ts";

export interface FetchModelOptions extends LoadModelOptions {
  /** Replaces the global `fetch`, for example with that of a Workers binding. */
  fetch?: Fetch;
}

type Fetch = (url: URL) => Promise<Response>;

/**
 * Fetches a checkpoint folder onto a device of its own: `config.json`, `tokenizer.json` if present, and the weights, which
 * are written to the device as they arrive. Hashes of the manifest are not compared, because web platforms can only hash
 * data that is in memory as a whole.
 *
 * @throws ReflowError naming the URL and the problem; `network` if it cannot be fetched
 */
export async function fetchModel(folder: URL, options: FetchModelOptions = {}): Promise<Model> {
  const get = getter(options.fetch ?? globalThis.fetch);
  const base = new URL(folder);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  const configUrl = new URL("config.json", base);
  const [configJson, tokenizerJson] = await Promise.all([
    fetchJson(get, configUrl),
    fetchJson(get, new URL("tokenizer.json", base)),
  ]);
  if (configJson === undefined) {
    throw new ReflowError("checkpoint", `${configUrl} does not exist`, "give the URL of a checkpoint folder");
  }
  const config = parseConfig(configJson, configUrl.href);
  const { weights, tensors } = await fetchWeights(get, base, options.weights);
  try {
    checkTensors(tensors, config, weights);
    const identity = weights === "int8" ? tensors.metadata.identity : await listedIdentity(get, base);
    return await startModel({ config, tokenizerJson, identity, weights, tensors }, options);
  } finally {
    await tensors.close();
  }
}

/** The hash of the f32 weights in the manifest, if there is one. */
async function listedIdentity(get: Get, base: URL): Promise<string | undefined> {
  const manifest = await fetchJson(get, new URL("manifest.json", base)).catch(() => undefined);
  const { files } = (manifest ?? {}) as { files?: Record<string, { sha256?: string }> };
  return files?.[WEIGHT_FILES.f32]?.sha256;
}

/** Undefined if the file does not exist. */
async function fetchJson(get: Get, url: URL): Promise<unknown> {
  const response = await get(url);
  if (!response) return undefined;
  try {
    return JSON.parse(await response.text());
  } catch (cause) {
    throw new ReflowError(
      "checkpoint",
      `${url} is not JSON`,
      "check that the server does not return another page instead",
      {
        cause,
      },
    );
  }
}

/** The weights file in the requested format, or the alternative. */
async function fetchWeights(
  get: Get,
  base: URL,
  wanted: WeightFormat | undefined,
): Promise<{ weights: WeightFormat; tensors: TensorStream }> {
  const candidates: WeightFormat[] =
    wanted === "f32" ? ["f32"] : wanted === "int8" ? ["int8", "f32"] : ["f32", "int8"];
  for (const weights of candidates) {
    const url = new URL(WEIGHT_FILES[weights], base);
    const response = await get(url);
    if (response?.body) return { weights, tensors: await openTensorStream(response.body, url.href) };
  }
  const names = candidates.map((weights) => WEIGHT_FILES[weights]).join(" or ");
  throw new ReflowError("checkpoint", `${base} has no ${names}`, "put the weights beside config.json");
}

/** Undefined if the file does not exist. */
type Get = (url: URL) => Promise<Response | undefined>;

function getter(fetch: Fetch): Get {
  return async (url) => {
    const response = await fetch(url).catch((cause: unknown) => {
      const message = `${url} could not be fetched: ${(cause as Error).message}`;
      const help = "check the URL, and whether its server allows requests from this page (CORS)";
      throw new ReflowError("network", message, help, { cause });
    });
    if (response.ok) return response;
    await response.body?.cancel();
    if (response.status === 404) return undefined;
    throw new ReflowError("network", `${url}: HTTP ${response.status}`, "ask the operator of the server");
  };
}
