// Op numbers, shared by the kernels (AssemblyScript) and the host that calls them (TypeScript).
// Each op's arguments are documented at its kernel.
export const GEMM = 0;
export const MATVEC = 1;
export const ADD = 2;
export const ADD_BROADCAST = 3;
export const SUM_BROADCAST = 4;
export const GATHER = 5;
export const SCATTER_ADD = 6;
export const TOPK = 7;
export const TOPK_BACKWARD = 8;
export const RMSNORM = 9;
export const RMSNORM_BACKWARD = 10;
export const LAYERNORM = 11;
export const LAYERNORM_BACKWARD = 12;
export const ROPE = 13;
export const ATTENTION = 14;
export const ATTENTION_BACKWARD = 15;
export const WRITE_CACHE = 16;
export const ATTENTION_CACHED = 17;
export const SWIGLU = 18;
export const SWIGLU_BACKWARD = 19;
export const GELU = 20;
export const GELU_BACKWARD = 21;
export const CROSS_ENTROPY = 22;
export const SUM_SQUARES = 23;
export const NORM = 24;
export const ADAMW = 25;
export const FILL = 26;
export const COPY = 27;
export const ROOF = 28;
export const BARE_DOT = 29;
export const READ_BANDWIDTH = 30;
/** Ends the workers; not run by the caller. */
export const EXIT = 31;

// Weight types of GEMM's and MATVEC's second operand, and of GATHER's table.
export const F32 = 0;
export const F16 = 1;
export const I8 = 2;
