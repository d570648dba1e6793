import { ReflowError } from "../../../runtime/common/errors.ts";

/** C's `int`, or anything as wide as a pointer, which is a number here: addresses stay below 2^53. */
export type CType = "i32" | "pointer";
export type CFunction = (...args: number[]) => number;
export type Signature = readonly [args: readonly CType[], result: CType];

export interface CLibrary<K extends string> {
  readonly symbols: Record<K, CFunction>;
  close(): void;
}

/** Calls to C, in which Bun and Deno differ. */
export interface Ffi {
  /** A library that the system's loader finds. Throws where it doesn't, or where it lacks one of the functions. */
  open<K extends string>(file: string, functions: Record<K, Signature>): CLibrary<K>;
  /** The address of its first element. The caller keeps the view alive for as long as C uses it. */
  addressOf(view: ArrayBufferView): number;
}

/** @throws ReflowError `usage` on a host without FFI */
export async function createFfi(): Promise<Ffi> {
  if ("Bun" in globalThis) return bunFfi(await import("bun:ffi"));
  if ("Deno" in globalThis) return denoFfi((globalThis as unknown as { Deno: DenoFfi }).Deno);
  throw new ReflowError("usage", "this host can't call MPI", "run the trainer with bun or deno");
}

const mapValues = <K extends string, V, U>(object: Record<K, V>, f: (value: V) => U) =>
  Object.fromEntries(Object.entries<V>(object).map(([key, value]) => [key, f(value)])) as Record<K, U>;

function bunFfi({ dlopen, ptr }: typeof import("bun:ffi")): Ffi {
  return {
    open<K extends string>(file: string, functions: Record<K, Signature>) {
      const definitions = mapValues(functions, ([args, returns]) => ({ args, returns }));
      return dlopen(file, definitions) as unknown as CLibrary<K>;
    },
    addressOf: (view) => ptr(view as NodeJS.TypedArray),
  };
}

/** What is used of it. */
interface DenoFfi {
  dlopen<K extends string>(
    file: string,
    functions: Record<K, { parameters: string[]; result: string }>,
  ): { symbols: Record<K, (...args: number[]) => number | bigint>; close(): void };
  UnsafePointer: { of(view: ArrayBufferView): object; value(pointer: object): bigint };
}

function denoFfi({ dlopen, UnsafePointer }: DenoFfi): Ffi {
  const typeOf = (c: CType) => (c === "pointer" ? "usize" : c);
  return {
    open<K extends string>(file: string, functions: Record<K, Signature>) {
      const definitions = mapValues(functions, ([args, result]) => ({
        parameters: args.map(typeOf),
        result: typeOf(result),
      }));
      const library = dlopen(file, definitions);
      const symbols = mapValues(
        library.symbols,
        (f): CFunction =>
          (...args) =>
            Number(f(...args)),
      );
      return { symbols, close: () => library.close() };
    },
    addressOf: (view) => Number(UnsafePointer.value(UnsafePointer.of(view))),
  };
}
