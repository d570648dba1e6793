import { WASM_BUILDS } from "../../support/wasm-builds.ts";
import { opSuite } from "./op-suite.ts";

for (const [name, make] of WASM_BUILDS) opSuite(name, make);
