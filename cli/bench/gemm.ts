import type { Tensor } from "../../runtime/backend/backend.ts";
import { roofRun } from "../../runtime/backend/wasm/measure.ts";
import type { WasmBackend } from "../../runtime/backend/wasm/mod.ts";
import { pseudo, type Row, race, row } from "./measure.ts";

export const SIZES = [512, 1024];
const KINDS = ["nn", "nt", "tn"] as const;

/** Square products in three transpositions, on one thread and on all: each against the roof, and the gain between. */
export async function benchGemm(
  one: WasmBackend,
  all: WasmBackend,
  wanted: (name: string) => boolean,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const kind of KINDS) {
    for (const size of SIZES) {
      const name = `gemm/${kind}/${size}`;
      if (!wanted(name)) continue;
      const flops = 2 * size ** 3;
      const roofs = { one: roofRun(one), all: roofRun(all) };
      const least = await race({
        one: product(one, kind, size),
        oneRoof: roofs.one.run,
        all: product(all, kind, size),
        allRoof: roofs.all.run,
      });
      const giga = (operations: number, seconds: number) => operations / seconds / 1e9;
      rows.push(row(name, 1, "GFLOP/s", giga(flops, least.one), giga(roofs.one.operations, least.oneRoof)));
      if (all.threads === 1) continue;
      rows.push(
        row(name, all.threads, "GFLOP/s", giga(flops, least.all), giga(roofs.all.operations, least.allRoof)),
        row(`${name}/speed-up`, all.threads, "×", least.one / least.all, all.threads),
      );
    }
  }
  return rows;
}

/** Multiplies two square matrices, again and again. */
export function product(backend: WasmBackend, kind: (typeof KINDS)[number], size: number): () => void {
  const matrix = (): Tensor => {
    const tensor = backend.alloc([size, size]);
    backend.write(tensor, pseudo(size * size));
    return tensor;
  };
  const [out, a, b] = [matrix(), matrix(), matrix()];
  const options = { transA: kind[0] === "t", transB: kind[1] === "t" };
  return () => backend.matmul(out, a, b, options);
}
