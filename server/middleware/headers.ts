import { secureHeaders } from "hono/secure-headers";

/**
 * Security headers: pages may load scripts and WASM from this server only. Cross-origin isolation is required for the shared
 * memory that threads use.
 */
export function securityHeaders() {
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
    // Left to the proxy that terminates TLS.
    strictTransportSecurity: false,
  });
}
