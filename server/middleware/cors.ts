import { cors as honoCors } from "hono/cors";
import type { Services } from "../services.ts";

/** Lets pages of these origins ask; of any with `*`. Before {@link keys}: a preflight has none. */
export function cors({ origins }: Pick<Services, "origins">) {
  return honoCors({
    origin: (origin) => (origins.includes("*") ? "*" : origins.includes(origin) ? origin : null),
    allowMethods: ["GET", "POST", "DELETE"],
    exposeHeaders: ["Retry-After", "X-Request-Id"],
    maxAge: 600,
  });
}
