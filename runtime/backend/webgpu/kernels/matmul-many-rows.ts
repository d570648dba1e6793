/** Products of many rows: choice of tile and kernel, and of the number of workgroups that share the inner dimension of a tile. */
import type { MatmulOptions, Tensor } from "../../contract/backend.ts";
import { type WebgpuDevice, widthFor } from "../device/device.ts";
import { elementwise, kernel, WORKGROUP } from "../device/kernel.ts";
import type { Tier } from "../device/tier.ts";
import { MATRIX, matrixTiled } from "./matmul-subgroup.ts";
import { PEAK_COUNT, type Product, type Tile } from "./matmul-tile.ts";
import { LARGE, SMALL, tiled } from "./matmul-tiled.ts";

export interface TilesOptions extends MatmulOptions {
  factors: Tier["matmul"];
  /** {@link peaksOf} a; required if factors are f16. */
  peaks?: Tensor;
  /** Default: chosen by size. */
  tile?: Tile;
}

/** out = a·b or += a·b, with optional transpositions. The caller has checked the shapes. */
export function multiplyTiles(
  device: WebgpuDevice,
  out: Tensor,
  a: Tensor,
  b: Tensor,
  { transA = false, transB = false, accumulate = false, factors, peaks, tile }: TilesOptions,
): void {
  const [rows, columns] = out.shape;
  const inner = a.shape[transA ? 0 : 1];
  const { matrix } = device.tier;
  const chosen = tile ?? (factors === "subgroup-matrix" ? MATRIX : tileFor(rows, columns, inner));
  const { count, slice } = slices(chosen, rows, columns, inner);
  const target = count === 1 ? out : device.scratch("partial products", [count, rows, columns]);
  const widths = [widthFor(a.shape[1], a), widthFor(b.shape[1], b), widthFor(columns, target)];
  const W = Math.min(...widths.map((width) => width.W));
  const product: Product = { transA, transB, int8: b.dtype === "i8", factors };
  device.run(
    factors === "subgroup-matrix" ? matrixTiled(product, matrix!) : tiled(chosen, product),
    { out: target, a, b, ...(b.scale && { b_scale: b.scale }), ...(peaks && { peaks }) },
    { rows, columns, inner, slice, accumulate: +(accumulate && count === 1) },
    [Math.ceil(columns / chosen.columns), Math.ceil(rows / chosen.rows), count],
    { W },
  );
  if (count > 1) sumSlices(device, out, target, count, accumulate);
}

/** The large tile if it keeps a GPU busy, otherwise the small one. */
function tileFor(rows: number, columns: number, inner: number): Tile {
  const fits = rows > SMALL.rows && columns > SMALL.columns;
  const groups = slices(LARGE, rows, columns, inner).count * tilesOf(LARGE, rows, columns);
  return fits && groups >= LARGE.groupsToFillGpu / 2 ? LARGE : SMALL;
}

const tilesOf = (tile: Tile, rows: number, columns: number): number =>
  Math.ceil(rows / tile.rows) * Math.ceil(columns / tile.columns);

/**
 * Splits a long inner dimension into slices if there are few tiles, as for gradients of weights over the rows of a batch.
 * The products of the slices are added in order.
 */
function slices(tile: Tile, rows: number, columns: number, inner: number): { count: number; slice: number } {
  const wanted = Math.max(1, Math.floor(tile.groupsToFillGpu / tilesOf(tile, rows, columns)));
  const minimum = 128; // adding the products of shorter slices takes more time than they save
  const slice = Math.ceil(Math.max(minimum, inner / wanted) / tile.step) * tile.step;
  return { count: Math.ceil(inner / slice), slice };
}

const SUM = elementwise(
  "sum-slices",
  { out: "writeW", partial: "readW" },
  `
  var sum = partial(i);
  for (var s = 1u; s < p.count; s++) { sum += partial(s * p.size + i); }
  if (p.accumulate != 0u) { sum += out(i); }
  set_out(i, sum);`,
  { count: "u32", accumulate: "u32" },
);

function sumSlices(
  device: WebgpuDevice,
  out: Tensor,
  partial: Tensor,
  count: number,
  accumulate: boolean,
): void {
  const constants = widthFor(out.size, out, partial);
  const size = out.size / constants.W;
  device.run(SUM, { out, partial }, { count, accumulate: +accumulate, size }, size / WORKGROUP, constants);
}

const PEAKS = kernel(
  "peaks",
  { peaks: "write", x: "readW" },
  { size: "u32" },
  (_, { W }) => /* wgsl */ `
var<workgroup> peak: atomic<u32>;
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var most = vecW();
  for (var i = group.x * ${WORKGROUP}u + lane; i < p.size; i += ${PEAK_COUNT * WORKGROUP}u) { most = max(most, abs(x(i))); }
  if (lane == 0u) { atomicStore(&peak, 0u); }
  workgroupBarrier();
  // Non-negative floats sort as their bits do.
  atomicMax(&peak, bitcast<u32>(${W === 4 ? "max(max(most.x, most.y), max(most.z, most.w))" : "most"}));
  workgroupBarrier();
  if (lane == 0u) { set_peaks(group.x, bitcast<f32>(atomicLoad(&peak))); }
}`,
);

/** Maxima of |x| over PEAK_COUNT parts of x. The largest of them determines the scale at which x is rounded to f16. */
export function peaksOf(device: WebgpuDevice, x: Tensor): Tensor {
  const peaks = device.scratch("peaks", [PEAK_COUNT]);
  const constants = widthFor(x.size, x);
  device.run(PEAKS, { peaks, x }, { size: x.size / constants.W }, PEAK_COUNT, constants);
  return peaks;
}
