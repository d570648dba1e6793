// Threads without messages. The host writes an op's arguments into the control block and calls `run`. The control block
// is at fixed addresses below the data segments: a mutable static would be reset by each instance's data segments.
// Workers stay in `work`, spin briefly on SEQUENCE, then sleep. Within an op every thread runs the same kernel and takes
// tasks from one counter until none is left. Each task writes its own outputs, in an order that does not depend on the
// thread that takes it, so results are the same bits for any number of threads.
import {
  ACTIVE_THREADS,
  ARGUMENTS,
  ARRIVED,
  EPOCH,
  MAY_SLEEP,
  NEXT_TASK,
  OP,
  SCRATCH,
  SCRATCH_STRIDE,
  SEQUENCE,
  SHARED_SCRATCH,
  SLEEPERS,
} from "./layout";

/** Loads of a flag before a waiting thread sleeps: some tens of microseconds, longer than the host needs between ops. */
const SPINS = 20000;

@inline export function arg(i: i32): i32 {
  return load<i32>(ARGUMENTS + (<usize>i << 2));
}
@inline export function pointer(i: i32): usize {
  return load<usize>(ARGUMENTS + (<usize>i << 2));
}
@inline export function real(i: i32): f32 {
  return load<f32>(ARGUMENTS + (<usize>i << 2));
}
@inline export function activeThreads(): i32 {
  return load<i32>(ACTIVE_THREADS);
}
@inline export function scratch(thread: i32): usize {
  return load<usize>(SCRATCH) + <usize>thread * load<usize>(SCRATCH_STRIDE);
}
@inline export function sharedScratch(): usize {
  return load<usize>(SHARED_SCRATCH);
}

/** The next task of this phase: every kernel loops `for (let i = take(); i < tasks; i = take())`. */
export function take(): i32 {
  if (ASC_FEATURE_THREADS) {
    if (load<i32>(ACTIVE_THREADS) > 1) return atomic.add<i32>(NEXT_TASK, 1);
  }
  const task = load<i32>(NEXT_TASK);
  store<i32>(NEXT_TASK, task + 1);
  return task;
}

/** Waits for all threads of the op and resets the task counter for the next phase. */
export function barrier(thread: i32): void {
  if (ASC_FEATURE_THREADS) {
    const active = load<i32>(ACTIVE_THREADS);
    if (active > 1) {
      const epoch = atomic.load<i32>(EPOCH);
      if (atomic.add<i32>(ARRIVED, 1) == active - 1) {
        atomic.store<i32>(ARRIVED, 0);
        atomic.store<i32>(NEXT_TASK, 0);
        atomic.store<i32>(EPOCH, epoch + 1);
        if (atomic.load<i32>(SLEEPERS) > 0) atomic.notify(EPOCH, -1);
      } else {
        waitWhile(EPOCH, epoch, thread);
      }
      return;
    }
  }
  store<i32>(NEXT_TASK, 0);
}

/** Returns once the flag is not `value`. */
function waitWhile(flag: usize, value: i32, thread: i32): void {
  if (ASC_FEATURE_THREADS) {
    let spins = SPINS;
    const maySleep = thread != 0 || load<i32>(MAY_SLEEP) != 0;
    while (atomic.load<i32>(flag) == value) {
      if (--spins <= 0 && maySleep) {
        // Counted before the wait checks the flag: a thread that changes the flag either sees this sleeper and wakes it,
        // or has changed the flag before the check.
        atomic.add<i32>(SLEEPERS, 1);
        atomic.wait<i32>(flag, value, -1);
        atomic.sub<i32>(SLEEPERS, 1);
      }
    }
  }
}

/** Starts an op on all threads. */
export function launch(op: i32): void {
  if (ASC_FEATURE_THREADS) {
    if (load<i32>(ACTIVE_THREADS) > 1) {
      store<i32>(OP, op);
      atomic.add<i32>(SEQUENCE, 1);
      if (atomic.load<i32>(SLEEPERS) > 0) atomic.notify(SEQUENCE, -1);
    }
  }
}

/** Waits until the op after number `last` starts, and returns its number. */
export function nextOp(last: i32, thread: i32): i32 {
  waitWhile(SEQUENCE, last, thread);
  return load<i32>(SEQUENCE);
}

@inline export function currentOp(): i32 {
  return load<i32>(OP);
}
