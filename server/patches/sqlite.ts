import { DatabaseSync } from "node:sqlite";
import type { Texts } from "./store.ts";

/** Texts in a file, which is made where it isn't there. Bun and Deno have `node:sqlite`. */
export function sqliteTexts(path: string): Texts & Disposable {
  const database = new DatabaseSync(path);
  // A server that is being replaced and its successor have it open together for a moment.
  database.exec("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000");
  database.exec("CREATE TABLE IF NOT EXISTS texts (name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT");
  const names = database.prepare("SELECT name FROM texts");
  const get = database.prepare("SELECT text FROM texts WHERE name = ?");
  const put = database.prepare("INSERT OR REPLACE INTO texts VALUES (?, ?)");
  const remove = database.prepare("DELETE FROM texts WHERE name = ?");
  return {
    names: async () => names.all().map(({ name }) => name as string),
    get: async (name) => get.get(name)?.text as string | undefined,
    put: async (name, text) => void put.run(name, text),
    delete: async (name) => void remove.run(name),
    [Symbol.dispose]: () => database.close(),
  };
}
