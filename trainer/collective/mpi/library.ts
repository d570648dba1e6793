import { ReflowError } from "../../../runtime/common/errors.ts";
import { type CFunction, type CLibrary, type CType, createFfi, type Ffi, type Signature } from "./ffi.ts";
import type { Launcher } from "./launcher.ts";

const returnsInt = <const T extends readonly CType[]>(...args: T) => [args, "i32"] as const;

/** Handles are declared as pointers: see {@link handlesOf}. */
const FUNCTIONS = {
  MPI_Get_library_version: returnsInt("pointer", "pointer"),
  MPI_Init_thread: returnsInt("pointer", "pointer", "i32", "pointer"),
  MPI_Comm_rank: returnsInt("pointer", "pointer"),
  MPI_Comm_size: returnsInt("pointer", "pointer"),
  MPI_Comm_set_errhandler: returnsInt("pointer", "pointer"),
  MPI_Error_string: returnsInt("i32", "pointer", "pointer"),
  // Data, count, type, peer, tag, communicator, request.
  MPI_Isend: returnsInt("pointer", "i32", "pointer", "i32", "i32", "pointer", "pointer"),
  MPI_Irecv: returnsInt("pointer", "i32", "pointer", "i32", "i32", "pointer", "pointer"),
  MPI_Test: returnsInt("pointer", "pointer", "pointer"),
  MPI_Abort: returnsInt("pointer", "i32"),
  MPI_Finalize: returnsInt(),
} satisfies Record<string, Signature>;

/** What `mpi.h` defines, and differently in each implementation. */
interface Handles {
  /** MPI_COMM_WORLD */
  everyone: number;
  /** MPI_BYTE */
  byte: number;
  /** MPI_ERRORS_RETURN */
  errorsReturn: number;
  /** MPI_THREAD_FUNNELED: of our threads only this one calls MPI. */
  funneled: number;
}

/** An MPI in this process, not initialized yet. */
export interface MpiLibrary extends Handles {
  /** "Open MPI 4.1.4" */
  version: string;
  /** They return 0, or an error's code. */
  functions: Record<keyof typeof FUNCTIONS, CFunction>;
  addressOf: Ffi["addressOf"];
  /**
   * Takes the library out of the process, and so runs its exit handlers, which Bun doesn't when it exits. MPICH from 4.1
   * on tells its launcher there that the rank has ended well; without, the launcher killed the others.
   */
  unload(): void;
}

/**
 * Loads the first of the launcher's libraries that is installed, or the one that REFLOW_MPI_LIBRARY names.
 *
 * @throws ReflowError `usage` where there is none
 */
export async function loadMpi(launcher: Launcher): Promise<MpiLibrary> {
  const ffi = await createFfi();
  const loader = openLoader(ffi);
  // MPICH, and Open MPI on fast networks, bring UCX, which replaces the engine's handlers of SIGSEGV and the like. Bun
  // 1.4.5 died of it wherever WebAssembly trapped.
  loader.setenv("UCX_ERROR_SIGNALS", "");
  const wanted = process.env.REFLOW_MPI_LIBRARY;
  for (const file of wanted === undefined ? launcher.libraries : [wanted]) {
    const handle = loader.load(file);
    if (handle) return describe(ffi, file, loader, handle);
  }
  if (wanted !== undefined) throw notMpi(wanted, loader.error());
  throw new ReflowError(
    "usage",
    `${launcher.name} started this process, but no MPI library that goes with it is installed (${launcher.libraries.join(", ")})`,
    "apt-get install openmpi-bin or mpich, or set REFLOW_MPI_LIBRARY to the library's path",
  );
}

const notMpi = (file: string, reason: string) =>
  new ReflowError(
    "usage",
    `REFLOW_MPI_LIBRARY is ${file}: ${reason}`,
    "give the path of the MPI library that belongs to the launcher, such as libmpi.so.40",
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
 * ints. On x86-64 and arm64 an int may be passed as a pointer: the callee reads the lower half of its register.
 */
function handlesOf(file: string, symbol: (name: string) => number): Handles {
  if (file.includes("mpi_abi")) return { everyone: 0x101, byte: 0x247, errorsReturn: 0x143, funneled: 1024 };
  const everyone = symbol("ompi_mpi_comm_world");
  return everyone
    ? { everyone, byte: symbol("ompi_mpi_byte"), errorsReturn: symbol("ompi_mpi_errors_return"), funneled: 1 }
    : { everyone: 0x44000000, byte: 0x4c00010d, errorsReturn: 0x54000001, funneled: 1 };
}

/** Of "Open MPI v4.1.4, package: Debian …" or "MPICH Version:\t4.0.2\nMPICH Release date: …" the beginning. */
function shorten(version: string): string {
  return version.split(/[\n,]/)[0].replace(/\s+v(ersion\s*:\s*)?(?=\d)/i, " ");
}

/** The C string at a buffer's start. */
export function readCString(buffer: Uint8Array): string {
  return new TextDecoder().decode(buffer.subarray(0, buffer.indexOf(0)));
}

const RTLD_NOW = 2;
/** Plug-ins of MPI look for its symbols among everyone's, where the hosts' own `dlopen` doesn't put them. */
const RTLD_GLOBAL = 0x100;

type Loader = ReturnType<typeof openLoader>;

/** The C library's loader of libraries. */
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
    /** A handle, or 0. */
    load: (file: string) => libc.dlopen(cString(file), RTLD_NOW | RTLD_GLOBAL),
    unload: (handle: number) => libc.dlclose(handle),
    /** An address, or 0. */
    symbol: (handle: number, name: string) => libc.dlsym(handle, cString(name)),
    /** Why the last call failed. */
    error() {
      libc.strncpy(ffi.addressOf(buffers[0]), libc.dlerror(), buffers[0].length);
      return readCString(buffers[0]);
    },
    /** For C, which doesn't see `process.env`. What is set already stays. */
    setenv: (name: string, value: string) => libc.setenv(cString(name), cString(value, buffers[1]), 0),
  };
}
