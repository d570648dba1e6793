import { secureHeaders } from "hono/secure-headers";

/**
 * What browsers may do with what we serve: our own scripts and WASM, nothing of others. Cross-origin isolated, since
 * threads need shared memory.
 */
export function headers() {
  return secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: ["'self'"],
      scriptSrc: ["'self'", "'wasm-unsafe-eval'"],
      styleSrc: ["'self'", "'unsafe-inline'"],
      imgSrc: ["'self'", "data:", "blob:"],
      workerSrc: ["'self'", "blob:"],
      objectSrc: ["'none'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
    },
    crossOriginEmbedderPolicy: true,
    xFrameOptions: "DENY",
    // For whoever ends TLS to say.
    strictTransportSecurity: false,
  });
}
