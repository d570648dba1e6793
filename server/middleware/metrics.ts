/** Figures of a running server, in Prometheus' text format. */
import { createMiddleware } from "hono/factory";
import { routePath } from "hono/route";
import type { AppEnv, Services } from "../services.ts";

type Labels = Record<string, string | number>;

/** Seconds. A token takes milliseconds, a long completion a minute. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const METHODS = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"];

/** A request, when its last byte is out. */
interface Served {
  method: string;
  route: string;
  status: number;
  seconds: number;
  tokens: number;
}

/** Counts what is served. */
export class Metrics {
  #requests = new Map<string, number>();
  #latencies = new Map<string, { buckets: number[]; sum: number; count: number }>();
  #tokens = 0;
  readonly #running = new Set<Promise<void>>();

  /** A request is served until what this returns is called. */
  begin(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#running.add(promise);
    return () => {
      this.#running.delete(promise);
      resolve();
    };
  }

  /** Waits for those that are served now, until the last byte of their answers. */
  async idle(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** Labels come from routes, never from what was asked: they stay few. */
  count({ method, route, status, seconds, tokens }: Served): void {
    const requests = labels({ method: METHODS.includes(method) ? method : "other", route, status });
    this.#requests.set(requests, (this.#requests.get(requests) ?? 0) + 1);
    const latency = this.#latencies.get(route) ?? { buckets: BUCKETS.map(() => 0), sum: 0, count: 0 };
    BUCKETS.forEach((bound, i) => {
      if (seconds <= bound) latency.buckets[i]++;
    });
    latency.sum += seconds;
    latency.count++;
    this.#latencies.set(route, latency);
    this.#tokens += tokens;
  }

  /** The page that Prometheus reads. */
  text({ pool, model }: Pick<Services, "pool" | "model">): string {
    const { slots, active, queued, prefixTokensReused } = pool.stats();
    const lines: string[] = [];
    const metric = (name: string, type: string, help: string, values: [labels: string, value: number][]) => {
      lines.push(`# HELP reflow_${name} ${help}`, `# TYPE reflow_${name} ${type}`);
      for (const [labels, value] of values) lines.push(`reflow_${name}${labels} ${value}`);
    };
    metric("requests_total", "counter", "Requests served.", [...this.#requests]);
    metric("tokens_total", "counter", "Tokens of prompts and completions.", [["", this.#tokens]]);
    metric("prefix_tokens_reused_total", "counter", "Tokens of prompts that were in the cache.", [
      ["", prefixTokensReused],
    ]);
    metric("slots", "gauge", "Sequences that can run at once.", [["", slots]]);
    metric("active", "gauge", "Sequences that run.", [["", active]]);
    metric("queued", "gauge", "Sequences that wait for a slot.", [["", queued]]);
    metric("running", "gauge", "Requests that are being served.", [["", this.#running.size]]);
    metric("device_bytes", "gauge", "Memory of weights and caches.", [["", model.memory.allocated]]);
    metric("device_bytes_peak", "gauge", "The most of it so far.", [["", model.memory.peak]]);
    lines.push("# HELP reflow_request_seconds From a request's head to its answer's last byte.");
    lines.push("# TYPE reflow_request_seconds histogram");
    for (const [route, { buckets, sum, count }] of this.#latencies) {
      const line = (suffix: string, value: number, le?: number | string) => {
        lines.push(
          `reflow_request_seconds_${suffix}${labels(le === undefined ? { route } : { route, le })} ${value}`,
        );
      };
      for (const [i, bound] of BUCKETS.entries()) line("bucket", buckets[i], bound);
      line("bucket", count, "+Inf");
      line("sum", sum);
      line("count", count);
    }
    return `${lines.join("\n")}\n`;
  }
}

/** `{method="GET",route="/v1/signals/:id"}` */
function labels(values: Labels): string {
  const escaped = (value: string | number) =>
    String(value).replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`));
  return `{${Object.entries(values)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(",")}}`;
}

/** Counts requests; within {@link log}, which makes their account. */
export function metrics(metrics: Metrics) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const start = performance.now();
    const end = metrics.begin();
    await next();
    const { account } = c.var;
    const { status } = c.res;
    const { method } = c.req;
    const route = status === 404 && routePath(c).includes("*") ? "unknown" : routePath(c);
    const count = () => {
      const seconds = (performance.now() - start) / 1000;
      metrics.count({ method, route, status, seconds, tokens: account.tokens });
      end();
    };
    if (account.ended) account.ended.then(count, count);
    else count();
  });
}
