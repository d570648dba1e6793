import { cors as honoCors } from "hono/cors";
import type { Services } from "../services.ts";

/** Lets pages of these origins ask; of any with `*`. Before {@link keys}: a preflight has none. */
export function cors({ origins }: Pick<Services, "origins">) {
  return honoCors({
    origin: (origin) => originOf(origins, origin),
    allowMethods: ["GET", "POST", "DELETE"],
    exposeHeaders: ["Retry-After", "X-Request-Id"],
    maxAge: 600,
  });
}

/** What a page's origin is told, if it may ask. */
export function originOf(origins: readonly string[], origin: string): string | null {
  if (origins.includes("*")) return "*";
  return origins.includes(origin) ? origin : null;
}
