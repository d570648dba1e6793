// Constants that the kernels (AssemblyScript), the host (TypeScript) and the kernel generator agree on: where the
// control block's fields are, and sizes of blocks and of scratch memory. Stated once: the kernels are compiled without
// assertions, and a disagreement would corrupt memory silently. Numbers without a type are i32 in AssemblyScript.

// ---- control block, in bytes from address 0 --------------------------------------------------------------------

/** Size of the control block. The kernels' data segments begin here: prepare.ts passes it as `--memoryBase`. */
export const CONTROL_BYTES = 4096;
/** Incremented to start an op. */
export const SEQUENCE = 1024;
/** The next task of the current phase. */
export const NEXT_TASK = 1088;
/** Number of threads that have reached the barrier. */
export const ARRIVED = 1152;
/** Incremented when all threads have reached the barrier, which releases them. */
export const EPOCH = 1216;
/** Number of workers asleep or about to sleep: 0 saves the system call that wakes them. */
export const SLEEPERS = 1280;
/** Number of the current op, see ops.ts. */
export const OP = 1344;
/** Number of threads that take part in the current op; with 1 the caller runs it alone. */
export const ACTIVE_THREADS = 1348;
/** Address of thread 0's scratch memory; each further thread's is a stride behind the one before. */
export const SCRATCH = 1352;
export const SCRATCH_STRIDE = 1356;
/** Address of the scratch memory that all threads share: packed operands, partial sums. */
export const SHARED_SCRATCH = 1360;
/** 1 if thread 0 may sleep: everywhere except on a page's main thread. */
export const MAY_SLEEP = 1364;
/** Arguments of the current op, 4 bytes each: addresses, i32 or f32. */
export const ARGUMENTS = 1408;

// ---- matrix products -------------------------------------------------------------------------------------------

/** Rows and columns of the microkernel's tile of C. */
export const MR = 6;
export const NR = 8;
/** Inner length of a block: 192 · (6·16 + 8·4) = 24 KiB of the L1 cache. */
export const KC = 192;
/** Scratch memory for one packed panel of A and one 6×8 tile of C, in bytes. */
export const PANEL_SCRATCH = KC * MR * 16 + MR * NR * 4;
/** Values of B that are packed at a time, and the inner length of that block. */
export const PACK_VALUES = 1 << 21;
export const PACK_INNER = 8192;
/** Size of the shared scratch memory in bytes: packed B, with columns rounded up to whole panels. */
export const SHARED_SCRATCH_BYTES = (PACK_VALUES + NR * PACK_INNER) * 4;

// ---- other ops -------------------------------------------------------------------------------------------------

/** Values of a tensor for which SUM_SQUARES writes one partial sum. */
export const SUM_SQUARES_CHUNK = 16384;
/** Operations of one thread in one round of ROOF: thirteen chains of four lanes, two operations each, 1000 times. */
export const ROOF_ROUND_OPERATIONS = 1000 * 13 * 4 * 2;
/** Bytes that a task of READ_BANDWIDTH reads. */
export const READ_BLOCK = 1 << 16;
