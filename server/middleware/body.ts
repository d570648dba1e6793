/** Decodes request bodies and encodes responses, as JSON or MessagePack. Both carry the same values. */

import type { Context } from "hono";
import { accepts } from "hono/accepts";
import { createMiddleware } from "hono/factory";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { withResolvers } from "../../runtime/common/compatibility.ts";
import { displayValue } from "../../runtime/common/validation.ts";
import type { AppEnv, Services } from "../context/services.ts";
import { ApiError } from "./errors.ts";
import { decodeMessagePack, encodeMessagePack, plain } from "./message-pack.ts";

const JSON_TYPE = "application/json";
/** The registered media type, and the older names for it. */
const MESSAGE_PACK = ["application/vnd.msgpack", "application/msgpack", "application/x-msgpack"];
type ResponseArguments = [status?: ContentfulStatusCode, headers?: Record<string, string>];
/** Default time for a body to arrive. A client that is slower occupies a connection that others wait for. */
const BODY_MS = 15_000;
/** Maximum nesting depth of a body: more than any valid request needs, and far below the stack limit. */
const DEPTH = 32;

/**
 * Decodes bodies according to Content-Type, up to `bodyLimit` bytes with any transfer encoding, and makes `c.json` encode
 * according to Accept. Validators find the same kind of value in `c.var.body` either way, with number[] for typed arrays.
 */
export function bodyCodec({
  bodyLimit = 2 ** 20,
  bodyTimeoutMs = BODY_MS,
}: Pick<Services, "bodyLimit" | "bodyTimeoutMs">) {
  return createMiddleware<AppEnv>(async (c, next) => {
    encodeByAccept(c);
    const { raw } = c.req;
    if (raw.body && raw.method === "POST") {
      checkEncoding(raw.headers.get("content-encoding") ?? "identity");
      const bytes = await readBytes(raw.body, bodyLimit, bodyTimeoutMs);
      if (bytes.length > 0) c.set("body", decode(bytes, raw.headers.get("content-type")));
    }
    await next();
  });
}

/** Makes `c.json` encode as the client prefers. Typed arrays are kept in MessagePack, and become arrays of numbers in JSON. */
function encodeByAccept(c: Context<AppEnv>): void {
  const { json } = c;
  const best = accepts(c, { header: "Accept", supports: [JSON_TYPE, ...MESSAGE_PACK], default: JSON_TYPE });
  c.header("vary", "Accept", { append: true });
  const answer: (value: unknown, ...rest: ResponseArguments) => Response =
    best === JSON_TYPE
      ? (value, ...rest) => json(plain(value), ...rest)
      : (value, ...rest) => {
          const response = c.body(encodeMessagePack(value), ...rest);
          response.headers.set("content-type", best);
          return response;
        };
  c.json = answer as typeof c.json;
}

/** @throws ApiError 415 for a compressed body */
function checkEncoding(encoding: string): void {
  if (encoding.trim().toLowerCase() === "identity") return;
  const message = `Content-Encoding ${JSON.stringify(encoding.slice(0, 80))} is not supported`;
  throw new ApiError(415, "unsupported_encoding", message, "send the body uncompressed");
}

async function readBytes(stream: ReadableStream<Uint8Array>, limit: number, ms: number): Promise<Uint8Array> {
  const reader = stream.getReader();
  const { promise: timeout, reject } = withResolvers<never>();
  const timer = setTimeout(() => {
    reject(new ApiError(408, "timeout", `the body did not arrive within ${ms / 1000} s`, "send it faster"));
    reader.cancel().catch(() => {});
  }, ms);
  try {
    return await Promise.race([readAll(reader, limit), timeout]);
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
      throw new ApiError(
        413,
        "too_large",
        `the body is larger than ${limit} bytes`,
        "send a smaller request, or ask the operator to raise the limit",
      );
    }
    chunks.push(value);
  }
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/**
 * Decodes a body, which must be an object of at most {@link DEPTH} levels.
 *
 * @throws ApiError 415 for an unsupported Content-Type; 400 if the body is malformed or is not an object
 */
function decode(bytes: Uint8Array, contentType: string | null): object {
  const type = contentType?.split(";")[0].trim().toLowerCase() ?? "";
  if (type !== JSON_TYPE && !MESSAGE_PACK.includes(type)) {
    const message = type
      ? `Content-Type ${JSON.stringify(type.slice(0, 80))} is not supported`
      : "the body has no Content-Type";
    throw new ApiError(
      415,
      "unsupported_type",
      message,
      "send application/json or application/msgpack, and set Content-Type",
    );
  }
  let value: unknown;
  try {
    value =
      type === JSON_TYPE
        ? plain(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)), DEPTH)
        : plain(decodeMessagePack(bytes, DEPTH));
  } catch (error) {
    const message = `the body is not valid ${type}: ${(error as Error).message.slice(0, 200)}`;
    throw new ApiError(400, "malformed", message, "send a well-formed body");
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  const message = `the request is ${displayValue(value)}: expected an object`;
  throw new ApiError(400, "usage", message, "see /docs for what each route expects");
}
