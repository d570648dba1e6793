import { ReflowError } from "../../../runtime/common/errors.ts";

/** C's `int`, or any type of a pointer's width. Pointers are numbers here, since addresses stay below 2^53. */
export type CType = "i32" | "pointer";
export type CFunction = (...args: number[]) => number;
export type Signature = readonly [args: readonly CType[], result: CType];

export interface CLibrary<K extends string> {
  readonly symbols: Record<K, CFunction>;
  close(): void;
}

/** The foreign function interface, which differs between Bun and Deno. */
export interface Ffi {
  /** Opens a library through the system's loader. Throws if it is not found, or lacks one of the functions. */
  open<K extends string>(file: string, functions: Record<K, Signature>): CLibrary<K>;
  /** The address of the first element. The caller must keep the view alive for as long as C uses it. */
  addressOf(view: ArrayBufferView): number;
}

/** @throws ReflowError `usage` on a host without FFI */
export async function createFfi(): Promise<Ffi> {
  if ("Bun" in globalThis) return bunFfi(await import("bun:ffi"));
  if ("Deno" in globalThis) return denoFfi((globalThis as unknown as { Deno: DenoFfi }).Deno);
  throw new ReflowError("usage", "this host cannot call MPI", "run the trainer with bun or deno");
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

/** The part of Deno's FFI that is used. */
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
