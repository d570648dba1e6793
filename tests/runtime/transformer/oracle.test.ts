import { ReferenceBackend } from "../../support/reference-backend.ts";
import { oracleSuite } from "./oracle-suite.ts";

oracleSuite("the float64 reference", async () => new ReferenceBackend(), { lossTolerance: 1e-6 });
