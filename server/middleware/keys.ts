/** Who may ask: bearer tokens. */
import { createMiddleware } from "hono/factory";
import type { AppEnv, Services } from "../services.ts";
import { Refusal } from "./errors.ts";

/**
 * Refuses requests without one of the keys; lets all pass where there are none. Routes that need no key are mounted before it.
 *
 * SHA-256 digests are compared, all of their bytes with all of the keys': neither a key's length nor its beginning shows in
 * how long that takes.
 */
export function keys({ keys }: Pick<Services, "keys">) {
  // Hashed when the first request comes: Workers don't let a module wait for anything.
  let known: Promise<Uint8Array[]> | undefined;
  return createMiddleware<AppEnv>(async (c, next) => {
    if (keys.length > 0) {
      known ??= Promise.all(keys.map(digest));
      const [, token] = /^Bearer +(\S+) *$/i.exec(c.req.header("authorization") ?? "") ?? [];
      const hash = await digest(token ?? "");
      let matches = 0;
      for (const key of await known) matches += +equal(key, hash);
      if (token === undefined || matches === 0) throw refusal(token);
      c.var.account.key = hash.subarray(0, 4).toHex();
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

function refusal(token: string | undefined): Refusal {
  const what = token === undefined ? "an API key is needed" : "this API key is not known";
  return new Refusal(
    401,
    "invalid_api_key",
    what,
    "send `Authorization: Bearer KEY`, with a key of the server's operator",
    {
      headers: { "www-authenticate": "Bearer" },
    },
  );
}
