import { sqlite } from "../../runtime/common/compatibility.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { TextStore } from "./store.ts";

/** A text store in an SQLite file, which is created if it does not exist. Bun, Deno and Node.js from version 22.13 on provide `node:sqlite`. */
export function sqliteStore(path: string): TextStore & Disposable {
  const module = sqlite();
  if (!module) {
    const help = "use Node.js 22.13 or newer, Bun or Deno";
    throw new ReflowError("usage", "this version of Node.js has no node:sqlite", help);
  }
  const database = new module.DatabaseSync(path);
  // During a restart, the old and the new server briefly have the file open together.
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
