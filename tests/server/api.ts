/** A test client for the HTTP API, independent of the server behind it. */
import assert from "node:assert/strict";
import { Unpackr } from "msgpackr";
import * as v from "valibot";

export type Fetch = (request: Request) => Promise<Response>;

export interface Answer {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: the server's response, which the tests check
  body: any;
}

const BASE = "http://reflow.test";

export class Api {
  readonly #fetch: Fetch;

  constructor(fetch: Fetch) {
    this.#fetch = fetch;
  }

  request(path: string, init?: RequestInit): Promise<Response> {
    return this.#fetch(new Request(new URL(path, BASE), init));
  }

  async get(path: string, init?: RequestInit): Promise<Answer> {
    return answerOf(await this.request(path, init));
  }

  async post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return answerOf(await this.request(path, post(body, headers)));
  }

  /** Sends a request that must succeed and match its schema exactly. */
  async ask<S extends v.GenericSchema>(schema: S, path: string, body?: unknown): Promise<v.InferOutput<S>> {
    const answer = body === undefined ? await this.get(path) : await this.post(path, body);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    const result = v.safeParse(schema, answer.body);
    assert.ok(result.success, `${path}: ${JSON.stringify(result.issues?.[0])}`);
    assert.deepEqual(result.output, answer.body, "fields that are missing in the schema");
    return result.output;
  }

  /** Reads the events of a stream, which must end with `[DONE]`. */
  async events(path: string, body: object): Promise<Answer["body"][]> {
    const response = await this.request(path, post(body));
    const text = await response.text();
    assert.match(response.headers.get("content-type")!, /^text\/event-stream/, text);
    const events = text.split("\n\n").filter((event) => event !== "");
    assert.equal(events.pop(), "data: [DONE]");
    return events.map((event) => JSON.parse(event.replace(/^data: /, "")));
  }

  /** Sends a request that must fail with this status and message. */
  async refused(status: number, message: RegExp, path: string, body?: unknown): Promise<Answer["body"]> {
    const answer = body === undefined ? await this.get(path) : await this.post(path, body);
    const { error } = answer.body;
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.match(error.message, message);
    assert.ok(error.id && error.help, "an id and help");
    return error;
  }
}

export const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(body),
});

async function answerOf(response: Response): Promise<Answer> {
  const { status, headers } = response;
  const type = headers.get("content-type") ?? "";
  if (/msgpack/.test(type)) {
    const unpackr = new Unpackr({ useRecords: false, moreTypes: true });
    return { status, headers, body: unpackr.unpack(new Uint8Array(await response.arrayBuffer())) };
  }
  return { status, headers, body: /json/.test(type) ? await response.json() : await response.text() };
}

/** Tests by title. Each leaves the server's state unchanged. */
export type ApiTests = Record<string, (api: Api) => Promise<void>>;

export const prompt = "the king and the queen of the";

export const near = (a: number, b: number, tolerance = 1e-3) =>
  assert.ok(Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(b)), `${a} is not ${b}`);

export const push = (strength: number, more: object = {}) => [
  {
    op: "add",
    target: { expression: "and - of" },
    hook: "blocks.0.hook_resid_post",
    strength,
    unit: "residNorm",
    ...more,
  },
];
