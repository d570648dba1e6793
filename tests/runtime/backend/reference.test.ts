import { describe, expect, test } from "bun:test";
import type { Backend, Tensor } from "../../../runtime/backend/contract/backend.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { OP_PROPERTIES, type Op } from "./op-properties.ts";
import { opSuite } from "./op-suite.ts";

opSuite("the float64 reference", async () => new ReferenceBackend(), { runs: 3 });

/** A backend in which one op has an error of about one percent. */
function broken(op: Op): Backend {
  const backend = new ReferenceBackend();
  const right = backend[op] as (out: Tensor, ...rest: never[]) => void;
  const wrong = (out: Tensor, ...rest: never[]) => {
    right(out, ...rest);
    const { data } = backend.view(out, [out.size]);
    for (let i = 0; i < data.length; i++) data[i] = out.dtype === "i32" ? data[i] + 1 : data[i] * 1.01 + 0.01;
  };
  return Object.assign(backend, { [op]: wrong });
}

describe("the suite detects a broken op", () => {
  for (const [op, properties] of Object.entries(OP_PROPERTIES)) {
    for (const { title, check } of properties) {
      test(`${op}: ${title}`, async () => {
        await expect(check(broken(op as Op), 5)).rejects.toThrow("Property failed");
      });
    }
  }
});
