import { cors as honoCors } from "hono/cors";
import { ReflowError } from "../../runtime/common/errors.ts";
import { listOf, type Services } from "../services.ts";

/** Lets pages of these origins ask; of any with `*`. Before {@link keys}: a preflight has none. */
export function cors({ origins }: Pick<Services, "origins">) {
  return honoCors({
    origin: (origin) => originOf(origins, origin),
    allowMethods: ["GET", "POST", "DELETE"],
    exposeHeaders: ["Retry-After", "X-Request-Id"],
    maxAge: 600,
  });
}

/** Origins from a list with commas, as browsers write them. @throws ReflowError `usage` for what is none */
export function originsOf(text: string | undefined): string[] {
  return listOf(text).map((each) => {
    const origin = each === "*" ? each : URL.parse(each)?.origin;
    if (origin && origin !== "null") return origin;
    throw new ReflowError("usage", `${each} is no origin`, "write it as https://example.org, or * for any");
  });
}

/** What a page's origin is told, if it may ask. */
export function originOf(origins: readonly string[], origin: string): string | null {
  if (origins.includes("*")) return "*";
  return origins.includes(origin) ? origin : null;
}
