import { expect, test } from "bun:test";
import fc from "fast-check";
import { PriorityQueue } from "../../../runtime/text/priority-queue.ts";

test("pops in order, with pushes in between", () => {
  const operations = fc.array(fc.option(fc.integer({ min: 0, max: 20 })), { maxLength: 100 });
  fc.assert(
    fc.property(operations, (numbers) => {
      const heap = new PriorityQueue<number>((a, b) => a < b);
      const model: number[] = [];
      for (const number of numbers) {
        if (number === null) expect(heap.pop()).toBe(model.shift());
        else {
          heap.push(number);
          model.push(number);
          model.sort((a, b) => a - b);
        }
      }
      for (const number of model) expect(heap.pop()).toBe(number);
      expect(heap.pop()).toBeUndefined();
    }),
  );
});
