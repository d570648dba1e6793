// Threads without messages. The host writes an op's arguments into the control block, at fixed addresses below the
// data segments (`--memoryBase 4096`; a mutable static would be reset by each instance's data segments), and calls
// `run`. Workers sit in `work`, spin a little on SEQUENCE, then sleep. Within an op every thread runs the same kernel
// and takes tasks from one counter until none is left; each task writes outputs of its own, in an order that doesn't
// depend on who takes it, so results are the same bits for any number of threads.

/** Bumped to start an op. */
const SEQUENCE: usize = 1024;
/** The next task of the current phase. */
const NEXT: usize = 1088;
/** Threads that have reached the barrier. */
const ARRIVED: usize = 1152;
/** Bumped when all have: releases them. */
const EPOCH: usize = 1216;
/** Workers asleep, or about to be: 0 saves the system call that wakes them. */
const SLEEPERS: usize = 1280;
const OP: usize = 1344;
/** Threads that take part in the current op; 1 runs it on the caller alone. */
const ACTIVE: usize = 1348;
/** Each thread's scratch memory, and its stride. */
const SCRATCH: usize = 1352;
const SCRATCH_STRIDE: usize = 1356;
/** Shared scratch memory: packed operands, partial sums. */
const SHARED: usize = 1360;
/** Whether thread 0 may sleep: everywhere but on a page's main thread. */
const MAY_SLEEP: usize = 1364;
const ARGUMENTS: usize = 1408;

/** Loads of a flag before a waiting thread sleeps: a few tens of microseconds, longer than the host needs between ops. */
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
  return load<i32>(ACTIVE);
}
@inline export function scratch(thread: i32): usize {
  return load<usize>(SCRATCH) + <usize>thread * load<usize>(SCRATCH_STRIDE);
}
@inline export function sharedScratch(): usize {
  return load<usize>(SHARED);
}

/** The next task of this phase: every kernel loops `for (let i = take(); i < tasks; i = take())`. */
export function take(): i32 {
  if (ASC_FEATURE_THREADS) {
    if (load<i32>(ACTIVE) > 1) return atomic.add<i32>(NEXT, 1);
  }
  const task = load<i32>(NEXT);
  store<i32>(NEXT, task + 1);
  return task;
}

/** Waits for all threads of the op, and starts the next phase's tasks at 0. */
export function barrier(thread: i32): void {
  if (ASC_FEATURE_THREADS) {
    const active = load<i32>(ACTIVE);
    if (active > 1) {
      const epoch = atomic.load<i32>(EPOCH);
      if (atomic.add<i32>(ARRIVED, 1) == active - 1) {
        atomic.store<i32>(ARRIVED, 0);
        atomic.store<i32>(NEXT, 0);
        atomic.store<i32>(EPOCH, epoch + 1);
        if (atomic.load<i32>(SLEEPERS) > 0) atomic.notify(EPOCH, -1);
      } else {
        waitWhile(EPOCH, epoch, thread);
      }
      return;
    }
  }
  store<i32>(NEXT, 0);
}

/** Returns once the flag differs from `value`. */
function waitWhile(flag: usize, value: i32, thread: i32): void {
  if (ASC_FEATURE_THREADS) {
    let spins = SPINS;
    const maySleep = thread != 0 || load<i32>(MAY_SLEEP) != 0;
    while (atomic.load<i32>(flag) == value) {
      if (--spins <= 0 && maySleep) {
        // Counted before the wait looks at the flag, so whoever changes it either sees us or is seen by us.
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
    if (load<i32>(ACTIVE) > 1) {
      store<i32>(OP, op);
      atomic.add<i32>(SEQUENCE, 1);
      if (atomic.load<i32>(SLEEPERS) > 0) atomic.notify(SEQUENCE, -1);
    }
  }
}

/** Sleeps until the op after number `last` starts; its number. */
export function nextOp(last: i32, thread: i32): i32 {
  waitWhile(SEQUENCE, last, thread);
  return load<i32>(SEQUENCE);
}

@inline export function currentOp(): i32 {
  return load<i32>(OP);
}
