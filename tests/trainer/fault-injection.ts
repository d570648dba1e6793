/**
 * The trainer with an injected fault: on rank FAULT_RANK, the FAULT_STEP-th micro-batch has a non-finite loss or gradient, or
 * loses the device.
 */
import { WasmBackend } from "../../runtime/backend/wasm/mod.ts";
import { ReflowError } from "../../runtime/common/errors.ts";

const { FAULT, FAULT_STEP, FAULT_RANK, REFLOW_RANK = "0" } = process.env;
const { crossEntropy } = WasmBackend.prototype;
let step = 0;
WasmBackend.prototype.crossEntropy = function (losses, logits, targets, scale) {
  crossEntropy.call(this, losses, logits, targets, scale);
  // Evaluations have scale 0.
  if (REFLOW_RANK !== FAULT_RANK || scale === 0 || ++step !== Number(FAULT_STEP)) return;
  if (FAULT === "loss") this.fill(losses, Number.NaN);
  else if (FAULT === "gradient") this.fill(logits, Number.NaN);
  else throw new ReflowError("lost", "the GPU was lost: it fell off the bus", "try again");
};

await import("../../trainer/main.ts");
