/** The engine that runs on the server that delivered the page. */
import {
  type Changes,
  type Engine,
  Failure,
  LIST_LENGTHS,
  type PatchChoice,
  type SteerEvent,
  type TokenEntry,
  type TokenText,
} from "./engine.ts";

/** Key in session storage: an API key is kept for this tab only. */
const KEY = "reflow-key";

export const enterKey = (key: string): void => sessionStorage.setItem(KEY, key);

/** Whether an API key was entered, so the server requires one. Plain links, such as the one to the API reference, cannot carry it. */
export const hasKey = (): boolean => sessionStorage.getItem(KEY) !== null;

export const remote: Engine = {
  async info() {
    const { data } = await get<{ data: ModelCard[] }>("v1/models");
    const [{ id, device, parameters, config }] = data;
    return { name: id, device, parameters, layers: config.n_layers, signals: config.n_signals ?? 0 };
  },
  async tokenize(content) {
    type Piece = { id: number; piece: string | number[] };
    const { tokens } = await post<{ tokens: Piece[] }>("tokenize", { content, with_pieces: true });
    // A token that is part of a multi-byte character has bytes instead of text.
    return tokens.map(
      ({ id, piece }): TokenText => ({ id, text: typeof piece === "string" ? piece : "\ufffd" }),
    );
  },
  async *steer({ maxTokens, patch, ...request }, signal) {
    const body = {
      ...request,
      max_tokens: maxTokens,
      stream: true,
      patch: patchField(patch),
    };
    const response = await send("v1/steer", { method: "POST", body: JSON.stringify(body), signal });
    yield* events<SteerEvent>(response);
  },
  band: ({ patch, ...request }, signal) =>
    post("v1/steer/band", { ...request, patch: patchField(patch) }, signal),
  async token(id, patch) {
    const query = queryOf({ by: "id", top: LIST_LENGTHS.signals, k: LIST_LENGTHS.neighbours }, patch);
    const { tokens } = await get<{ tokens: TokenEntry[] }>(`v1/tokens/${id}?${query}`);
    return tokens[0];
  },
  signal: (id, patch) => get(`v1/signals/${id}?${queryOf({ k: LIST_LENGTHS.codebook }, patch)}`),
  async activations({ text, signal, ...changes }) {
    type Hook = { shape: number[]; data: number[] };
    const names = ["hook_signals"];
    const { activations } = await post<{ activations: Record<string, Hook> }>("v1/activations", {
      input: text,
      names,
      ...changesOf(changes),
    });
    const { shape, data } = activations.hook_signals;
    const S = shape.at(-1)!;
    return data.filter((_, i) => i % S === signal);
  },
  explain: ({ text, position, ...changes }) =>
    post("v1/explain", { input: text, position, top: LIST_LENGTHS.signals, ...changesOf(changes) }),
  lens: ({ text, interventions, patch }, signal) =>
    post("v1/lens", { input: text, top: LIST_LENGTHS.lens, ...changesOf({ interventions, patch }) }, signal),
  map: (count, patch) => get(`v1/map?${queryOf({ n: count }, patch)}`),
  blastRadius: (patch, text, signal) => post("v1/blast-radius", { patch: patchField(patch), text }, signal),
  async patches() {
    const { data } = await get<{ data: { name: string }[] }>("v1/patches");
    return data.map(({ name }) => name);
  },
  async patchExpression(name) {
    return (await get<{ expression?: string }>(`v1/patches/${encodeURIComponent(name)}`)).expression;
  },
  savePatch: (name, expression) => post("v1/patches", { name, patch: { expression } }),
  async deletePatch(name) {
    await send(`v1/patches/${encodeURIComponent(name)}`, { method: "DELETE" });
  },
};

interface ModelCard {
  id: string;
  device: string;
  parameters: number;
  config: { n_layers: number; n_signals?: number };
}

const patchField = (patch?: PatchChoice) => (patch && "name" in patch ? patch.name : patch);

const queryOf = (query: Record<string, string | number>, patch?: PatchChoice): URLSearchParams => {
  const parameters = new URLSearchParams(Object.entries(query).map(([key, value]) => [key, String(value)]));
  if (patch) parameters.set("patch", "name" in patch ? patch.name : patch.expression);
  return parameters;
};

const changesOf = ({ interventions, patch }: Changes) => ({
  interventions: interventions.length > 0 ? interventions : undefined,
  patch: patchField(patch),
});

const get = async <T>(path: string): Promise<T> => (await send(path)).json();

const post = async <T>(path: string, body: object, signal?: AbortSignal): Promise<T> =>
  (await send(path, { method: "POST", body: JSON.stringify(body), signal })).json();

async function send(path: string, init: RequestInit = {}): Promise<Response> {
  const key = sessionStorage.getItem(KEY);
  const headers = {
    ...(init.body !== undefined && { "content-type": "application/json" }),
    ...(key && { authorization: `Bearer ${key}` }),
  };
  const response = await fetch(new URL(path, document.baseURI), { ...init, headers }).catch(
    (error: Error) => {
      init.signal?.throwIfAborted();
      throw new Failure(`cannot reach the server: ${error.message}`, "check that it is still running");
    },
  );
  if (response.ok) return response;
  const body = await response.json().catch(() => undefined);
  throw failureOf(body, `HTTP ${response.status}`);
}

function failureOf(body: unknown, fallback: string): Failure {
  const { error } = (body ?? {}) as { error?: { message: string; help?: string; type?: string } };
  return new Failure(error?.message ?? fallback, error?.help, error?.type);
}

/** Parses server-sent events with JSON data, up to `[DONE]`. */
async function* events<T>(response: Response): AsyncGenerator<T> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (text + value).split("\n\n");
      text = parts.pop()!;
      for (const part of parts) {
        const data = part.slice("data: ".length);
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw failureOf(event, "the server failed");
        yield event;
      }
    }
  } finally {
    await reader.cancel();
  }
}
