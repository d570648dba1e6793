import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { kvTexts } from "../../server/patches/kv.ts";
import { sqliteTexts } from "../../server/patches/sqlite.ts";
import { memoryTexts, patchStore } from "../../server/patches/store.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { patchSuite } from "./patches-suite.ts";

const folder = temporaryFolder();
const kept = {
  expression: undefined,
  patch: { model: "cd".repeat(32), edits: [{ token: 1, signal: 2, delta: 0.4 }] },
};
const stores = { memory: memoryTexts, sqlite: () => sqliteTexts(join(folder, "suite.sqlite")) };
for (const [store, open] of Object.entries(stores)) {
  for (const [name, check] of Object.entries(patchSuite)) test(`${store}: ${name}`, () => check(open()));
}

test("there is an end to how many are kept; what is there can be replaced", async () => {
  const store = patchStore(memoryTexts());
  for (let i = 0; i < 1000; i++) await store.put(`p${i}`, kept);
  await assert.rejects(store.put("more", kept), /1000 patches are kept already/);
  await store.put("p7", kept);
  await store.delete("p8");
  await store.put("more", kept);
});

test("sqlite: patches outlive a restart, and two servers share them", async () => {
  const file = join(folder, "restart.sqlite");
  {
    using texts = sqliteTexts(file);
    await patchStore(texts).put("kept", kept);
  }
  using one = sqliteTexts(file);
  using two = sqliteTexts(file);
  assert.deepEqual(await patchStore(one).get("kept"), kept);
  await patchStore(two).put("another", kept);
  assert.deepEqual(await patchStore(one).list(), ["another", "kept"]);
});

test("KV: all pages of the list are read", async () => {
  const names = Array.from({ length: 2500 }, (_, i) => `patch-${String(i).padStart(4, "0")}`);
  const none = () => Promise.reject(new Error("not asked for"));
  const namespace = {
    async list({ cursor = "0" }: { cursor?: string }) {
      const next = Number(cursor) + 1000;
      const keys = names.slice(Number(cursor), next).map((name) => ({ name }));
      const list_complete = next >= names.length;
      return list_complete ? { keys, list_complete } : { keys, list_complete, cursor: String(next) };
    },
    get: none,
    put: none,
    delete: none,
  };
  assert.deepEqual(await patchStore(kvTexts(namespace)).list(), names);
});
