import { cors as honoCors } from "hono/cors";
import { ReflowError } from "../../runtime/common/errors.ts";
import { type Services, splitList } from "../context/services.ts";

/** Allows pages of these origins, or of any with `*`. Mounted before authentication, since a preflight request carries no key. */
export function cors({ origins }: Pick<Services, "origins">) {
  return honoCors({
    origin: (origin) => originOf(origins, origin),
    allowMethods: ["GET", "POST", "DELETE"],
    exposeHeaders: ["Retry-After", "X-Request-Id"],
    maxAge: 600,
  });
}

/** Origins from a comma-separated list, normalised as browsers send them. @throws ReflowError `usage` for an invalid origin */
export function originsOf(text: string | undefined): string[] {
  return splitList(text).map((each) => {
    const origin = each === "*" ? each : URL.parse(each)?.origin;
    if (origin && origin !== "null") return origin;
    throw new ReflowError(
      "usage",
      `${each} is not an origin`,
      "use the form https://example.org, or * for any",
    );
  });
}

/** The value of Access-Control-Allow-Origin for an origin, or null if it is not allowed. */
export function originOf(origins: readonly string[], origin: string): string | null {
  if (origins.includes("*")) return "*";
  return origins.includes(origin) ? origin : null;
}
