/** API-key authentication with bearer tokens. */

import { createMiddleware } from "hono/factory";
import { toHex } from "../../runtime/common/compatibility.ts";
import type { AppEnv, Services } from "../context/services.ts";
import { ApiError } from "./errors.ts";

/**
 * Rejects requests without a valid key. An empty list of keys disables the check. Routes that need no key are mounted before this
 * middleware.
 *
 * The SHA-256 digest is compared with that of every key, over all bytes, so the time taken reveals neither the length nor a prefix
 * of a key.
 */
export function requireApiKey({ keys }: Pick<Services, "keys">) {
  // Hashed on the first request, because Workers do not allow asynchronous work while a module loads.
  let known: Promise<Uint8Array[]> | undefined;
  return createMiddleware<AppEnv>(async (c, next) => {
    if (keys.length > 0) {
      known ??= Promise.all(keys.map(digest));
      const [, token] = /^Bearer +(\S+) *$/i.exec(c.req.header("authorization") ?? "") ?? [];
      const hash = await digest(token ?? "");
      let matches = 0;
      for (const key of await known) matches += +equal(key, hash);
      if (token === undefined || matches === 0) throw unauthorized(token);
      c.var.record.key = toHex(hash.subarray(0, 4));
    }
    await next();
  });
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i] ^ b[i];
  return difference === 0;
}

function unauthorized(token: string | undefined): ApiError {
  const message = token === undefined ? "an API key is required" : "this API key is not valid";
  return new ApiError(
    401,
    "invalid_api_key",
    message,
    "send `Authorization: Bearer KEY`, with a key from the server's operator",
    {
      headers: { "www-authenticate": "Bearer" },
    },
  );
}
