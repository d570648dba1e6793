import { WASM_BUILDS } from "../../support/wasm-builds.ts";
import { oracleSuite } from "./oracle-suite.ts";

for (const [name, make] of WASM_BUILDS) oracleSuite(name, make, { lossTolerance: 1e-5 });
