/** One middleware for what goes in and out: JSON or MessagePack, the same values either way. */
import type { Context } from "hono";
import { accepts } from "hono/accepts";
import { createMiddleware } from "hono/factory";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { displayValue } from "../../runtime/common/validation.ts";
import type { AppEnv, Services } from "../services.ts";
import { Refusal } from "./errors.ts";
import { decodeMessagePack, encodeMessagePack, plain } from "./message-pack.ts";

const JSON_TYPE = "application/json";
/** The registered name, and those before it. */
const MESSAGE_PACK = ["application/vnd.msgpack", "application/msgpack", "application/x-msgpack"];
type Rest = [status?: ContentfulStatusCode, headers?: Record<string, string>];
/** A body that isn't there by then never comes: whoever sends it holds a place that others wait for. */
const BODY_MS = 15_000;
/** Deeper than any request has a use for, and far from what recursive code can take. */
const DEPTH = 32;

/**
 * Decodes bodies by Content-Type, of at most `bodyLimit` bytes however they are sent; encodes what `c.json` is given by Accept.
 * Validators see one kind of value in `c.var.body`, with number[] for typed arrays.
 */
export function body({ bodyLimit = 2 ** 20, bodyMs = BODY_MS }: Pick<Services, "bodyLimit" | "bodyMs">) {
  return createMiddleware<AppEnv>(async (c, next) => {
    encodeByAccept(c);
    const { raw } = c.req;
    if (raw.body && raw.method === "POST") {
      checkEncoding(raw.headers.get("content-encoding") ?? "identity");
      const bytes = await readBytes(raw.body, bodyLimit, bodyMs);
      if (bytes.length > 0) c.set("body", decode(bytes, raw.headers.get("content-type")));
    }
    await next();
  });
}

/** Makes `c.json` answer in what the client likes best; typed arrays go out as they are, or as JSON's numbers. */
function encodeByAccept(c: Context<AppEnv>): void {
  const { json } = c;
  const best = accepts(c, { header: "Accept", supports: [JSON_TYPE, ...MESSAGE_PACK], default: JSON_TYPE });
  c.header("vary", "Accept", { append: true });
  const answer: (value: unknown, ...rest: Rest) => Response =
    best === JSON_TYPE
      ? (value, ...rest) => json(plain(value), ...rest)
      : (value, ...rest) => {
          const response = c.body(encodeMessagePack(value), ...rest);
          response.headers.set("content-type", best);
          return response;
        };
  c.json = answer as typeof c.json;
}

/** @throws Refusal 415 for a body that would have to be unpacked */
function checkEncoding(encoding: string): void {
  if (encoding.trim().toLowerCase() === "identity") return;
  const what = `the body's encoding is ${JSON.stringify(encoding.slice(0, 80))}`;
  throw new Refusal(415, "unsupported_encoding", what, "send it as it is");
}

async function readBytes(stream: ReadableStream<Uint8Array>, limit: number, ms: number): Promise<Uint8Array> {
  const reader = stream.getReader();
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    reject(new Refusal(408, "timeout", `the body wasn't there after ${ms / 1000} s`, "send it faster"));
    reader.cancel().catch(() => {});
  }, ms);
  try {
    return await Promise.race([readAll(reader, limit), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function readAll(reader: ReadableStreamDefaultReader<Uint8Array>, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > limit) {
      await reader.cancel().catch(() => {});
      throw new Refusal(
        413,
        "too_large",
        `the body is larger than ${limit} bytes`,
        "send less, or ask the operator for more",
      );
    }
    chunks.push(value);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/**
 * A body's value: an object, since every route's is one, of at most {@link DEPTH} levels.
 *
 * @throws Refusal 415 for other types; 400 where it isn't what its type says
 */
function decode(bytes: Uint8Array, contentType: string | null): object {
  const type = contentType?.split(";")[0].trim().toLowerCase() ?? "";
  if (type !== JSON_TYPE && !MESSAGE_PACK.includes(type)) {
    const what = type
      ? `the body's type is ${JSON.stringify(type.slice(0, 80))}`
      : "the body has no Content-Type";
    throw new Refusal(
      415,
      "unsupported_type",
      what,
      "send application/json or application/msgpack, and say which",
    );
  }
  let value: unknown;
  try {
    value =
      type === JSON_TYPE
        ? plain(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)), DEPTH)
        : plain(decodeMessagePack(bytes, DEPTH));
  } catch (error) {
    const message = `the body is not what ${type} should be: ${(error as Error).message.slice(0, 200)}`;
    throw new Refusal(400, "malformed", message, "encode it again; nothing in it was looked at");
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  const message = `the request is ${displayValue(value)}: an object was expected`;
  throw new Refusal(400, "usage", message, "/docs says what each route expects");
}
