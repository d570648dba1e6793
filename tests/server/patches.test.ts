import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { kvStore } from "../../server/patches/kv.ts";
import { sqliteStore } from "../../server/patches/sqlite.ts";
import { memoryStore, patchStore } from "../../server/patches/store.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { patchSuite } from "./patches-suite.ts";

const folder = temporaryFolder();
const kept = {
  expression: undefined,
  patch: { model: "cd".repeat(32), edits: [{ token: 1, signal: 2, delta: 0.4 }] },
};
const stores = { memory: memoryStore, sqlite: () => sqliteStore(join(folder, "suite.sqlite")) };
for (const [store, open] of Object.entries(stores)) {
  for (const [name, check] of Object.entries(patchSuite)) test(`${store}: ${name}`, () => check(open()));
}

test("the number of patches is limited, and existing ones can still be replaced", async () => {
  const store = patchStore(memoryStore());
  for (let i = 0; i < 1000; i++) await store.put(`p${i}`, kept);
  await assert.rejects(store.put("more", kept), /limit of 1000 saved patches is reached/);
  await store.put("p7", kept);
  await store.delete("p8");
  await store.put("more", kept);
});

test("sqlite: patches survive a restart, and two servers can share them", async () => {
  const file = join(folder, "restart.sqlite");
  {
    using texts = sqliteStore(file);
    await patchStore(texts).put("kept", kept);
  }
  using one = sqliteStore(file);
  using two = sqliteStore(file);
  assert.deepEqual(await patchStore(one).get("kept"), kept);
  await patchStore(two).put("another", kept);
  assert.deepEqual(await patchStore(one).list(), ["another", "kept"]);
});

test("KV: all pages of the list are read", async () => {
  const names = Array.from({ length: 2500 }, (_, i) => `patch-${String(i).padStart(4, "0")}`);
  const none = () => Promise.reject(new Error("unexpected call"));
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
  assert.deepEqual(await patchStore(kvStore(namespace)).list(), names);
});
