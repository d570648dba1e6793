import { ReflowError } from "../../runtime/common/errors.ts";

/**
 * Maps a file into memory, which is shared between all processes that map it.
 *
 * @throws ReflowError `device` on a host that cannot map files
 */
export function mapFile(path: string, bytes: number): ArrayBuffer {
  if ("Bun" in globalThis) return Bun.mmap(path, { shared: true }).buffer;
  if ("Deno" in globalThis) return mapInDeno((globalThis as unknown as { Deno: DenoFfi }).Deno, path, bytes);
  throw new ReflowError(
    "device",
    "this host cannot share memory between processes",
    "run the trainer with bun or deno",
  );
}

/** The part of Deno's FFI that is used. */
interface DenoFfi {
  dlopen(
    file: string,
    functions: Record<string, { parameters: string[]; result: string }>,
  ): { symbols: Record<string, (...args: (Uint8Array | number | bigint)[]) => unknown> };
  UnsafePointerView: { getArrayBuffer(pointer: unknown, bytes: number): ArrayBuffer };
}

/** Constants of Linux and macOS. */
const [O_RDWR, PROT_READ_WRITE, MAP_SHARED] = [2, 3, 1];

function mapInDeno({ dlopen, UnsafePointerView }: DenoFfi, path: string, bytes: number): ArrayBuffer {
  const { symbols } = dlopen(process.platform === "darwin" ? "libSystem.dylib" : "libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    mmap: { parameters: ["usize", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const file = symbols.open(new TextEncoder().encode(`${path}\0`), O_RDWR) as number;
  const pointer = symbols.mmap(0n, BigInt(bytes), PROT_READ_WRITE, MAP_SHARED, file, 0n);
  symbols.close(file);
  return UnsafePointerView.getArrayBuffer(pointer, bytes);
}
