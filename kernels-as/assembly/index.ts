// Entry points of the module: the host calls `run`, and each worker calls `work`.
import { gelu, geluBackward, swiglu, swigluBackward } from "./activation";
import { attention, attentionBackward, attentionCached, writeCache } from "./attention";
import { add, addBroadcast, copy, fill, sumBroadcast } from "./elementwise";
import { gemm } from "./gemm";
import { crossEntropy } from "./loss";
import { matvec } from "./matvec";
import { bareDot, readBandwidth, roof } from "./measure";
import { layernorm, layernormBackward, rmsnorm, rmsnormBackward } from "./norm";
import * as ops from "./ops";
import { adamw, norm, sumSquares } from "./optimizer";
import { barrier, currentOp, launch, nextOp } from "./parallel";
import { rope } from "./rope";
import { gather, scatterAdd, topk, topkBackward } from "./tables";

function dispatch(op: i32, thread: i32): void {
  switch (op) {
    case ops.GEMM:
      gemm(thread);
      break;
    case ops.MATVEC:
      matvec(thread);
      break;
    case ops.ADD:
      add();
      break;
    case ops.ADD_BROADCAST:
      addBroadcast();
      break;
    case ops.SUM_BROADCAST:
      sumBroadcast();
      break;
    case ops.GATHER:
      gather();
      break;
    case ops.SCATTER_ADD:
      scatterAdd();
      break;
    case ops.TOPK:
      topk();
      break;
    case ops.TOPK_BACKWARD:
      topkBackward();
      break;
    case ops.RMSNORM:
      rmsnorm();
      break;
    case ops.RMSNORM_BACKWARD:
      rmsnormBackward(thread);
      break;
    case ops.LAYERNORM:
      layernorm();
      break;
    case ops.LAYERNORM_BACKWARD:
      layernormBackward(thread);
      break;
    case ops.ROPE:
      rope();
      break;
    case ops.ATTENTION:
      attention(thread);
      break;
    case ops.ATTENTION_BACKWARD:
      attentionBackward(thread);
      break;
    case ops.WRITE_CACHE:
      writeCache();
      break;
    case ops.ATTENTION_CACHED:
      attentionCached(thread);
      break;
    case ops.SWIGLU:
      swiglu();
      break;
    case ops.SWIGLU_BACKWARD:
      swigluBackward();
      break;
    case ops.GELU:
      gelu();
      break;
    case ops.GELU_BACKWARD:
      geluBackward();
      break;
    case ops.CROSS_ENTROPY:
      crossEntropy();
      break;
    case ops.SUM_SQUARES:
      sumSquares();
      break;
    case ops.NORM:
      norm();
      break;
    case ops.ADAMW:
      adamw();
      break;
    case ops.FILL:
      fill();
      break;
    case ops.COPY:
      copy();
      break;
    case ops.ROOF:
      roof(thread);
      break;
    case ops.BARE_DOT:
      bareDot();
      break;
    case ops.READ_BANDWIDTH:
      readBandwidth(thread);
      break;
    default:
      unreachable();
  }
}

/** Runs one op on the calling thread and, if the control block says so, on all workers. Returns when it is done. */
export function run(op: i32): void {
  launch(op);
  dispatch(op, 0);
  barrier(0);
}

/** A worker's main loop: runs every op that is launched after number `last`. Never returns; terminate the worker instead. */
export function work(thread: i32, last: i32): void {
  for (;;) {
    last = nextOp(last, thread);
    if (currentOp() == ops.EXIT) return;
    dispatch(currentOp(), thread);
    barrier(thread);
  }
}

// The scratch memory that the host reserves before it runs an op that needs more than one panel.
export { attentionBackwardScratch, attentionCachedScratch, attentionScratch } from "./attention";
export { matvecScratch } from "./matvec";

/** The first byte after the data segments, where the host's heap begins. */
export function heapBase(): usize {
  return __heap_base;
}
