/** Metrics of a running server, in the Prometheus text format. */

import { withResolvers } from "../../runtime/common/compatibility.ts";
import type { GenerationPool } from "../../runtime/generation/pool.ts";
import type { Model } from "../../runtime/model/model.ts";

type Labels = Record<string, string | number>;

/** Upper bounds of the latency histogram, in seconds: a token takes milliseconds, a long completion a minute. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const METHODS = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"];

/** A request whose response has been sent. */
interface ServedRequest {
  method: string;
  route: string;
  status: number;
  seconds: number;
  tokens: number;
}

/** Counts the requests that are served. */
export class Metrics {
  #requests = new Map<string, number>();
  #latencies = new Map<string, { buckets: number[]; sum: number; count: number }>();
  #tokens = 0;
  readonly #running = new Set<Promise<void>>();

  /** Marks a request as running until the returned function is called. */
  begin(): () => void {
    const { promise, resolve } = withResolvers<void>();
    this.#running.add(promise);
    return () => {
      this.#running.delete(promise);
      resolve();
    };
  }

  /** Waits until the requests that are running now have sent their last byte. */
  async idle(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** Labels come from the route patterns, never from the request, which bounds their number. */
  count({ method, route, status, seconds, tokens }: ServedRequest): void {
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

  /** The page that Prometheus scrapes. */
  text({ pool, model }: { pool: Pick<GenerationPool, "stats">; model: Pick<Model, "memory"> }): string {
    const { slots, active, queued, prefixTokensReused } = pool.stats();
    const lines: string[] = [];
    const metric = (name: string, type: string, help: string, values: [labels: string, value: number][]) => {
      lines.push(`# HELP reflow_${name} ${help}`, `# TYPE reflow_${name} ${type}`);
      for (const [labels, value] of values) lines.push(`reflow_${name}${labels} ${value}`);
    };
    metric("requests_total", "counter", "Requests served.", [...this.#requests]);
    metric("tokens_total", "counter", "Tokens of prompts and completions.", [["", this.#tokens]]);
    metric("prefix_tokens_reused_total", "counter", "Prompt tokens reused from the prefix cache.", [
      ["", prefixTokensReused],
    ]);
    metric("slots", "gauge", "Sequences that can run at once.", [["", slots]]);
    metric("active", "gauge", "Sequences running.", [["", active]]);
    metric("queued", "gauge", "Sequences waiting for a slot.", [["", queued]]);
    metric("running", "gauge", "Requests being served.", [["", this.#running.size]]);
    metric("device_bytes", "gauge", "Memory allocated for weights and caches.", [
      ["", model.memory.allocated],
    ]);
    metric("device_bytes_peak", "gauge", "Peak of reflow_device_bytes.", [["", model.memory.peak]]);
    lines.push("# HELP reflow_request_seconds Time from a request's head to the last byte of its response.");
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

/** For example `{method="GET",route="/v1/signals/:id"}`. */
function labels(values: Labels): string {
  const escaped = (value: string | number) =>
    String(value).replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`));
  return `{${Object.entries(values)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(",")}}`;
}
