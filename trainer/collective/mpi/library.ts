import { ReflowError } from "../../../runtime/common/errors.ts";
import { type CFunction, type CLibrary, type CType, createFfi, type Ffi, type Signature } from "./ffi.ts";
import type { Launcher } from "./launcher.ts";

const returnsInt = <const T extends readonly CType[]>(...args: T) => [args, "i32"] as const;

/** MPI handles are declared as pointers: see {@link handlesOf}. */
const FUNCTIONS = {
  MPI_Get_library_version: returnsInt("pointer", "pointer"),
  MPI_Init_thread: returnsInt("pointer", "pointer", "i32", "pointer"),
  MPI_Comm_rank: returnsInt("pointer", "pointer"),
  MPI_Comm_size: returnsInt("pointer", "pointer"),
  MPI_Comm_set_errhandler: returnsInt("pointer", "pointer"),
  MPI_Error_string: returnsInt("i32", "pointer", "pointer"),
  // Arguments: data, count, type, peer, tag, communicator, request.
  MPI_Isend: returnsInt("pointer", "i32", "pointer", "i32", "i32", "pointer", "pointer"),
  MPI_Irecv: returnsInt("pointer", "i32", "pointer", "i32", "i32", "pointer", "pointer"),
  MPI_Test: returnsInt("pointer", "pointer", "pointer"),
  MPI_Abort: returnsInt("pointer", "i32"),
  MPI_Finalize: returnsInt(),
} satisfies Record<string, Signature>;

/** Constants of `mpi.h`, which differ between implementations. */
interface Handles {
  /** MPI_COMM_WORLD */
  commWorld: number;
  /** MPI_BYTE */
  byte: number;
  /** MPI_ERRORS_RETURN */
  errorsReturn: number;
  /** MPI_THREAD_FUNNELED: only the main thread calls MPI. */
  funneled: number;
}

/** An MPI library loaded into this process, not yet initialized. */
export interface MpiLibrary extends Handles {
  /** For example "Open MPI 4.1.4". */
  version: string;
  /** The functions return 0, or an error code. */
  functions: Record<keyof typeof FUNCTIONS, CFunction>;
  addressOf: Ffi["addressOf"];
  /**
   * Unloads the library, which runs its exit handlers; Bun does not run them when it exits. In these handlers MPICH from 4.1
   * on tells its launcher that the rank has ended normally; without that, the launcher killed the other ranks.
   */
  unload(): void;
}

/**
 * Loads the first of the launcher's libraries that is installed, or the one named by REFLOW_MPI_LIBRARY.
 *
 * @throws ReflowError `usage` if none is installed, or if REFLOW_MPI_LIBRARY does not name an MPI library
 */
export async function loadMpi(launcher: Launcher): Promise<MpiLibrary> {
  const ffi = await createFfi();
  const loader = openLoader(ffi);
  // MPICH, and Open MPI on fast networks, use UCX, which replaces the engine's handlers of SIGSEGV and similar signals. With
  // them replaced, Bun 1.4.5 crashed on every WebAssembly trap.
  loader.setenv("UCX_ERROR_SIGNALS", "");
  const requested = process.env.REFLOW_MPI_LIBRARY;
  for (const file of requested === undefined ? launcher.libraries : [requested]) {
    const handle = loader.load(file);
    if (handle) return describe(ffi, file, loader, handle);
  }
  if (requested !== undefined) throw notMpi(requested, loader.error());
  throw new ReflowError(
    "usage",
    `${launcher.name} started this process, but no matching MPI library is installed (expected one of ${launcher.libraries.join(", ")})`,
    "apt-get install openmpi-bin or mpich, or set REFLOW_MPI_LIBRARY to the library's path",
  );
}

const notMpi = (file: string, reason: string) =>
  new ReflowError(
    "usage",
    `REFLOW_MPI_LIBRARY is ${file}: ${reason}`,
    "set it to the path of the launcher's MPI library, such as libmpi.so.40",
  );

function describe(ffi: Ffi, file: string, loader: Loader, handle: number): MpiLibrary {
  let library: CLibrary<keyof typeof FUNCTIONS>;
  try {
    library = ffi.open(file, FUNCTIONS);
  } catch (error) {
    throw notMpi(file, (error as Error).message);
  }
  const { addressOf } = ffi;
  const text = new Uint8Array(16384);
  library.symbols.MPI_Get_library_version(addressOf(text), addressOf(new Uint8Array(4096)));
  return {
    version: shorten(readCString(text)),
    functions: library.symbols,
    addressOf,
    ...handlesOf(file, (name) => loader.symbol(handle, name)),
    unload() {
      library.close();
      loader.unload(handle);
    },
  };
}

/**
 * Open MPI's handles are addresses of its objects, those of the MPI 5 standard's ABI are small addresses, and MPICH's are
 * ints. On x86-64 and arm64 an int may be passed as a pointer, since the callee reads the lower half of its register.
 */
function handlesOf(file: string, symbol: (name: string) => number): Handles {
  if (file.includes("mpi_abi")) return { commWorld: 0x101, byte: 0x247, errorsReturn: 0x143, funneled: 1024 };
  const commWorld = symbol("ompi_mpi_comm_world");
  return commWorld
    ? {
        commWorld,
        byte: symbol("ompi_mpi_byte"),
        errorsReturn: symbol("ompi_mpi_errors_return"),
        funneled: 1,
      }
    : { commWorld: 0x44000000, byte: 0x4c00010d, errorsReturn: 0x54000001, funneled: 1 };
}

/** Shortens "Open MPI v4.1.4, package: Debian …" or "MPICH Version:\t4.0.2\nMPICH Release date: …" to name and version. */
function shorten(version: string): string {
  return version.split(/[\n,]/)[0].replace(/\s+v(ersion\s*:\s*)?(?=\d)/i, " ");
}

/** The C string at the start of a buffer. */
export function readCString(buffer: Uint8Array): string {
  return new TextDecoder().decode(buffer.subarray(0, buffer.indexOf(0)));
}

const RTLD_NOW = 2;
/** MPI plug-ins look up its symbols in the global scope, in which the `dlopen` of Bun and Deno does not place them. */
const RTLD_GLOBAL = 0x100;

type Loader = ReturnType<typeof openLoader>;

/** The dynamic loader of the C library. */
function openLoader(ffi: Ffi) {
  const { symbols: libc } = ffi.open("libc.so.6", {
    dlopen: [["pointer", "i32"], "pointer"],
    dlsym: [["pointer", "pointer"], "pointer"],
    dlclose: [["pointer"], "i32"],
    dlerror: [[], "pointer"],
    strncpy: [["pointer", "pointer", "pointer"], "pointer"],
    setenv: [["pointer", "pointer", "i32"], "i32"],
  });
  const buffers = [new Uint8Array(4096), new Uint8Array(4096)];
  const cString = (text: string, buffer = buffers[0]) => {
    new TextEncoder().encodeInto(`${text}\0`, buffer);
    return ffi.addressOf(buffer);
  };
  return {
    /** Returns a handle, or 0 on failure. */
    load: (file: string) => libc.dlopen(cString(file), RTLD_NOW | RTLD_GLOBAL),
    unload: (handle: number) => libc.dlclose(handle),
    /** Returns an address, or 0 if the symbol is undefined. */
    symbol: (handle: number, name: string) => libc.dlsym(handle, cString(name)),
    /** The error message of the last failed call. */
    error() {
      libc.strncpy(ffi.addressOf(buffers[0]), libc.dlerror(), buffers[0].length);
      return readCString(buffers[0]);
    },
    /** Sets a variable for C code, which does not see `process.env`. A variable already set is kept. */
    setenv: (name: string, value: string) => libc.setenv(cString(name), cString(value, buffers[1]), 0),
  };
}
