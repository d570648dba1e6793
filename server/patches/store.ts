/** Named gene patches, kept across restarts. */
import { ReflowError } from "../../runtime/common/errors.ts";
import { displayValue } from "../../runtime/common/validation.ts";
import { type GenePatch, parsePatch } from "../../runtime/patches/patch.ts";

/** Stores texts by name. Implemented by {@link memoryStore}, `sqliteStore` and `kvStore`. */
export interface TextStore {
  /** All names, in any order. */
  names(): Promise<string[]>;
  get(name: string): Promise<string | undefined>;
  put(name: string, text: string): Promise<void>;
  delete(name: string): Promise<void>;
}

/** A patch, and the statements it was made from, unless it was given as edits. */
export interface SavedPatch {
  patch: GenePatch;
  expression?: string;
}

/** Named patches. Every method that takes a name throws ReflowError `usage` for an invalid name. */
export interface PatchStore {
  /** Every name, sorted. */
  list(): Promise<string[]>;
  /** Undefined if no patch has this name. */
  get(name: string): Promise<SavedPatch | undefined>;
  /** Replaces the patch of this name, if there is one. */
  put(name: string, patch: SavedPatch): Promise<void>;
  /** Returns whether a patch had this name. */
  delete(name: string): Promise<boolean>;
}

/** Each patch takes at most 1 MiB, the limit of a request body. */
const MAX_PATCHES = 1000;

export function patchStore(texts: TextStore): PatchStore {
  const get = async (name: string) => texts.get(checkName(name));
  return {
    list: async () => (await texts.names()).sort(),
    async get(name) {
      const text = await get(name);
      if (text === undefined) return undefined;
      const { expression, ...patch } = JSON.parse(text);
      return { expression, patch: parsePatch(patch, name) };
    },
    async put(name, { expression, patch }) {
      const isNew = (await get(name)) === undefined;
      if (isNew && (await texts.names()).length >= MAX_PATCHES) {
        const help = "delete some: DELETE /v1/patches/NAME";
        throw new ReflowError("usage", `the limit of ${MAX_PATCHES} saved patches is reached`, help);
      }
      await texts.put(name, JSON.stringify({ expression, ...patch }));
    },
    async delete(name) {
      if ((await get(name)) === undefined) return false;
      await texts.delete(name);
      return true;
    },
  };
}

/** Names that need no escaping in paths, stores and logs, and that are not paths themselves. */
function checkName(name: string): string {
  if (/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/.test(name) && !name.includes("..")) return name;
  const help =
    "use at most 64 letters, digits, single dots, dashes and underscores, starting with a letter or a digit";
  throw new ReflowError("usage", `${displayValue(name)} is not a valid patch name`, help);
}

/** A text store in memory, without persistence. */
export function memoryStore(): TextStore {
  const texts = new Map<string, string>();
  return {
    names: async () => [...texts.keys()],
    get: async (name) => texts.get(name),
    put: async (name, text) => void texts.set(name, text),
    delete: async (name) => void texts.delete(name),
  };
}
