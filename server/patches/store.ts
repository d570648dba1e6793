/** Named gene patches, kept across restarts. */
import { ReflowError } from "../../runtime/common/errors.ts";
import { displayValue } from "../../runtime/common/validation.ts";
import { type GenePatch, parsePatch } from "../../runtime/patches/patch.ts";

/** Where texts are kept by name: `memoryTexts`, `sqliteTexts`, `kvTexts`. */
export interface Texts {
  /** All names, in any order. */
  names(): Promise<string[]>;
  get(name: string): Promise<string | undefined>;
  put(name: string, text: string): Promise<void>;
  delete(name: string): Promise<void>;
}

/** A patch, and the statements that made it: none where it came as edits. */
export interface KeptPatch {
  patch: GenePatch;
  expression?: string;
}

/** Every function that takes a name throws ReflowError `usage` for one that no patch can have. */
export interface PatchStore {
  /** Every name, sorted. */
  list(): Promise<string[]>;
  /** Undefined where there is none of this name. */
  get(name: string): Promise<KeptPatch | undefined>;
  /** Replaces what has the name. */
  put(name: string, kept: KeptPatch): Promise<void>;
  /** Whether there was one. */
  delete(name: string): Promise<boolean>;
}

/** Each has 1 MiB at most, as bodies have. */
const MOST_PATCHES = 1000;

export function patchStore(texts: Texts): PatchStore {
  const get = async (name: string) => texts.get(checked(name));
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
      if (isNew && (await texts.names()).length >= MOST_PATCHES) {
        const help = "forget some: DELETE /v1/patches/NAME";
        throw new ReflowError("usage", `${MOST_PATCHES} patches are kept already`, help);
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

/** What paths, stores and logs carry as it is, and nobody takes for a path. */
function checked(name: string): string {
  if (/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/.test(name) && !name.includes("..")) return name;
  const help =
    "use at most 64 letters, digits, single dots, dashes and underscores, a letter or a digit first";
  throw new ReflowError("usage", `${displayValue(name)} is no name for a patch`, help);
}

/** For servers that needn't remember. */
export function memoryTexts(): Texts {
  const texts = new Map<string, string>();
  return {
    names: async () => [...texts.keys()],
    get: async (name) => texts.get(name),
    put: async (name, text) => void texts.set(name, text),
    delete: async (name) => void texts.delete(name),
  };
}
