import type { TextStore } from "./store.ts";

/** The methods used of a Workers KV namespace. */
export interface KvNamespace {
  list(options: {
    cursor?: string;
  }): Promise<{ keys: { name: string }[]; list_complete: boolean; cursor?: string }>;
  get(key: string): Promise<string | null>;
  put(key: string, value: string): Promise<void>;
  delete(key: string): Promise<void>;
}

/** A text store in a Workers KV namespace. A write can take up to a minute to become visible in other locations. */
export function kvStore(namespace: KvNamespace): TextStore {
  return {
    async names() {
      const names: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await namespace.list({ cursor });
        names.push(...page.keys.map(({ name }) => name));
        cursor = page.list_complete ? undefined : page.cursor;
      } while (cursor);
      return names;
    },
    get: async (name) => (await namespace.get(name)) ?? undefined,
    put: (name, text) => namespace.put(name, text),
    delete: (name) => namespace.delete(name),
  };
}
