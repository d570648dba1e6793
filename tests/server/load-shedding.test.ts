import { expect, test } from "bun:test";
import { Metrics } from "../../server/context/metrics.ts";
import type { Services } from "../../server/context/services.ts";
import { shedLoad } from "../../server/load-shedding.ts";

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

test("excess requests are refused at once, health checks are not, and later requests are served", async () => {
  const log: object[] = [];
  const metrics = new Metrics();
  const pool = { stats: () => ({ slots: 4 }) } as Services["pool"];
  const waiting: ((response: Response) => void)[] = [];
  const fetch = shedLoad<undefined>(
    ({ url }) =>
      /\/livez(\?|$)/.test(url) ? new Response("alive") : new Promise((resolve) => waiting.push(resolve)),
    { pool, log: (entry) => log.push(entry), origins: ["https://a.test"], metrics },
  );
  const ask = (path = "v1/completions") => fetch(new Request(`http://reflow.test/${path}`), undefined);
  const answers = Array.from({ length: 400 }, () => ask());
  // Only a few requests start in each turn of the event loop.
  const started: number[] = [];
  while (waiting.length < 4 + 256) {
    const before = waiting.length;
    await nextTurn();
    started.push(waiting.length - before);
  }
  expect(Math.max(...started)).toBeLessThanOrEqual(8);
  const refused = answers[399] as Response;
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1"]);
  const headers = { origin: "https://a.test" };
  const toPage = await fetch(new Request("http://reflow.test/v1/completions", { headers }), undefined);
  expect([toPage.status, toPage.headers.get("access-control-allow-origin")]).toEqual([429, "https://a.test"]);
  expect(await refused.json()).toMatchObject({ error: { code: "busy", type: "rate_limit_error" } });
  expect((await ask("livez")).status).toBe(200);
  expect((await ask("livez?verbose")).status).toBe(200);
  for (const path of ["v1/completions?/livez", "v1/tokens/a/livez", "livez/a"]) {
    expect([path, (await ask(path)).status]).toEqual([path, 429]);
  }

  for (const answer of waiting.splice(0)) answer(new Response("done"));
  expect((await answers[0]).status).toBe(200);
  const later = ask();
  await nextTurn();
  expect(waiting.length).toBe(1);
  waiting[0](new Response("done"));
  expect((await later).status).toBe(200);

  await Bun.sleep(1100);
  expect(log).toEqual([expect.objectContaining({ level: "warn", status: 429, refused: 144 })]);
  const model = { memory: { allocated: 0, peak: 0 } } as Services["model"];
  expect(metrics.text({ pool, model })).toContain(
    'reflow_requests_total{method="GET",route="refused",status="429"} 144\n',
  );
});
