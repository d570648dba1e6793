import type { DType } from "../../contract/backend.ts";
import type { Tier } from "./tier.ts";

/**
 * How a kernel accesses a tensor. `read4` and `write4` access it as vectors of four elements, with indices in units of
 * four: the tensor must begin at a multiple of four elements. `readW` and `writeW` access it as vectors of `W` elements,
 * a constant of the call that is 1 or 4 (see `widthFor`). The kernel's code is the same for both: the type is `vecW`.
 */
export type Access = "read" | "write" | "read4" | "write4" | "readW" | "writeW";
export type Constants = Readonly<Record<string, number>>;

/**
 * A compute kernel. Its bindings and parameters are declared, and WGSL declarations are generated from them:
 *
 * - For each binding `x`, a function `x(i)` that reads its i-th element as f32 (or i32) for any dtype, and for `write`
 *   also `set_x(i, value)`. f16 and i8 tensors are read-only; the scale of an i8 tensor is a separate binding. If an
 *   output is also an input, both names refer to one binding.
 * - `p`, a uniform with the kernel's parameters. Values that change from call to call belong there: constants are
 *   compiled in.
 * - A `const` for each constant of the call.
 */
export interface Kernel<Binding extends string = string, Param extends string = string> {
  readonly name: string;
  readonly bindings: Readonly<Record<Binding, Access>>;
  readonly params: Readonly<Record<Param, "u32" | "f32">>;
  /** WGSL with the entry point `main`. */
  code(tier: Tier, constants: Constants): string;
}

export function kernel<Binding extends string, Param extends string>(
  name: string,
  bindings: Record<Binding, Access>,
  params: Record<Param, "u32" | "f32">,
  code: string | ((tier: Tier, constants: Constants) => string),
): Kernel<Binding, Param> {
  return { name, bindings, params, code: typeof code === "string" ? () => code : code };
}

/** WGSL for each of 0 … n−1. Accumulators are named variables, since a compiler may not keep arrays in registers. */
export const times = (n: number, code: (i: number) => string, separator = "\n"): string =>
  Array.from({ length: n }, (_, i) => code(i)).join(separator);

/** Default number of invocations in a workgroup. */
export const WORKGROUP = 256;

/**
 * A kernel with one invocation for each element. `code` is a function body with the element's index `i`; `p.size` is the
 * number of elements.
 */
export function elementwise<Binding extends string, Param extends string = never>(
  name: string,
  bindings: Record<Binding, Access>,
  code: string,
  params = {} as Record<Param, "u32" | "f32">,
): Kernel<Binding, Param | "size"> {
  const all = { ...params, size: "u32" } as Record<Param | "size", "u32" | "f32">;
  return kernel(
    name,
    bindings,
    all,
    /* wgsl */ `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.x + id.y * groups.x * ${WORKGROUP}u;
  if (i >= p.size) { return; }
${code}
}`,
  );
}

/** The properties of a call that a kernel is compiled for. */
export interface Variant {
  dtypes: readonly DType[];
  /** For each binding, the first that is bound to the same memory: itself, unless an output is also an input. */
  alias: readonly number[];
  constants: Constants;
}

/** The complete WGSL module of a kernel's variant. */
export function moduleCode(kernel: Kernel, variant: Variant, tier: Tier): string {
  const { dtypes, alias, constants } = variant;
  const bindings = Object.entries(kernel.bindings);
  const fields = [...bindings.map(([name]) => `${name}_at: u32`)];
  for (const [name, type] of Object.entries(kernel.params)) fields.push(`${name}: ${type}`);
  const declarations = bindings.map(([name, access], b) => {
    const writable = bindings.some(([, other], o) => alias[o] === alias[b] && other.startsWith("write"));
    const store = `${bindings[alias[b]][0]}_data`;
    const wide = access.endsWith("4") || (access.endsWith("W") && constants.W === 4);
    const { type, element, read } = wide ? WIDE[dtypes[b]] : NARROW[dtypes[b]];
    const lines = [];
    if (alias[b] === b) {
      const space = writable ? "storage, read_write" : "storage, read";
      lines.push(`@group(0) @binding(${b + 1}) var<${space}> ${store}: array<${element}>;`);
    }
    const at = wide ? `p.${name}_at / 4u + i` : `p.${name}_at + i`;
    lines.push(`fn ${name}(i: u32) -> ${type} { ${read(store, at)} }`);
    if (access.startsWith("write"))
      lines.push(`fn set_${name}(i: u32, value: ${type}) { ${store}[${at}] = value; }`);
    return lines.join("\n");
  });
  return [
    ...tier.enables.map((extension) => `enable ${extension};`),
    ...Object.entries(constants).map(([name, value]) => `const ${name} = ${value}u;`),
    ...(constants.W ? [`alias vecW = ${constants.W === 4 ? "vec4<f32>" : "f32"};`] : []),
    `struct Params { ${fields.join(", ")} }`,
    "@group(0) @binding(0) var<uniform> p: Params;",
    ...declarations,
    kernel.code(tier, constants),
  ].join("\n");
}

interface ElementRead {
  /** WGSL type of the value that is read. */
  type: string;
  /** WGSL element type of the buffer. */
  element: string;
  /** Statements that return element `at`. */
  read(store: string, at: string): string;
}

const plain = (type: string): ElementRead => ({
  type,
  element: type,
  read: (store, at) => `return ${store}[${at}];`,
});

const NARROW: Record<DType, ElementRead> = {
  f32: plain("f32"),
  i32: plain("i32"),
  f16: {
    type: "f32",
    element: "u32",
    read: (store, at) => `let j = ${at}; return unpack2x16float(${store}[j >> 1u])[j & 1u];`,
  },
  i8: {
    type: "f32",
    element: "u32",
    read: (store, at) =>
      `let j = ${at}; return f32(bitcast<i32>(${store}[j >> 2u] << (24u - 8u * (j & 3u))) >> 24u);`,
  },
};

const WIDE: Record<DType, ElementRead> = {
  f32: plain("vec4<f32>"),
  i32: plain("vec4<i32>"),
  f16: {
    type: "vec4<f32>",
    element: "vec2<u32>",
    read: (store, at) =>
      `let w = ${store}[${at}]; return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));`,
  },
  i8: {
    type: "vec4<f32>",
    element: "u32",
    read: (store, at) =>
      `return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(${store}[${at}]) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));`,
  },
};
