import assert from "node:assert/strict";
import { patchStore, type TextStore } from "../../server/patches/store.ts";

const MODEL = "ab".repeat(32);
const patchOf = (delta: number, expression?: string) => ({
  expression,
  patch: { model: MODEL, edits: [{ token: 1, signal: 2, delta }] },
});

/** Names that every store rejects: path traversal, encoded variants of other names, and control characters. */
const INVALID_NAMES = [
  ...["", ".", "..", "../x", "..\\x", "a/../b", "a..b", "/etc/passwd", ".hidden", "-rf", "~", "a b", "a\n"],
  ...[
    "a\0",
    "\0",
    "%2e%2e",
    "%2e",
    "a%00",
    "a%2fb",
    "ä",
    "a\u202eb",
    "'; DROP TABLE texts; --",
    "a?b",
    "a#b",
  ],
  ...["__proto__", "a".repeat(65), "x".repeat(1e6)],
];

/** Tests that run against every store. */
export const patchSuite: Record<string, (texts: TextStore) => Promise<void>> = {
  async "patches are saved by name, replaced and deleted"(texts) {
    const store = patchStore(texts);
    assert.deepEqual(await store.list(), []);
    assert.equal(await store.get("kinder"), undefined);
    await store.put("kinder", patchOf(0.5));
    await store.put("Zoo-1.2_b", patchOf(-0.1));
    await store.put("kinder", patchOf(0.25, '"a" += 0.25 * "b"'));
    assert.deepEqual(await store.get("kinder"), patchOf(0.25, '"a" += 0.25 * "b"'));
    assert.deepEqual(await store.get("Zoo-1.2_b"), patchOf(-0.1));
    assert.deepEqual(await store.list(), ["Zoo-1.2_b", "kinder"]);
    assert.equal(await store.delete("kinder"), true);
    assert.equal(await store.delete("kinder"), false);
    assert.deepEqual(await store.list(), ["Zoo-1.2_b"]);
    assert.equal(await store.get("constructor"), undefined);
    assert.equal(await store.delete("Zoo-1.2_b"), true);
  },

  async "invalid names are refused by every method"(texts) {
    const store = patchStore(texts);
    const refused = { code: "usage", message: /is not a valid patch name$/ };
    for (const name of INVALID_NAMES) {
      await assert.rejects(store.get(name), refused, name);
      await assert.rejects(store.put(name, patchOf(1)), refused, name);
      await assert.rejects(store.delete(name), refused, name);
    }
    assert.deepEqual(await store.list(), []);
  },

  async "a stored text that is not a patch is an error"(texts) {
    await texts.put("odd", '{"model":1}');
    await assert.rejects(patchStore(texts).get("odd"), /odd/);
    await texts.delete("odd");
  },
};
