/**
 * Edits a token's recipe with a gene patch, measures the side effects, and shows that inverting the patch undoes it.
 *
 * Run: bun docs/examples/edit-a-recipe.ts
 */
import { bundledModel, composePatches, invertPatch, loadModel } from "reflow";

using model = await loadModel(bundledModel());
const { recipe } = await model.recipe("terrible", { count: 3 });
console.log(
  "Largest weights:",
  recipe.map(({ signal, weight }) => `${signal}: ${weight.toFixed(2)}`).join(", "),
);

const patch = await model.createPatch("terrible += 0.6 * (great - terrible)");
const { bytes, neighbours } = await model.blastRadius(patch);
console.log(`The patch has ${patch.edits.length} edits (${bytes} bytes as a file).`);
console.log(`The nearest tokens of ${neighbours.moved} of ${neighbours.of} other tokens change.`);

const nearest = async (when: string, lexicon: ReturnType<typeof model.lexicon>) => {
  const found = (await lexicon).neighbours((await lexicon).resolve("terrible"), { count: 5 });
  console.log(`${when}: ${(await found).map(({ text }) => text.trim()).join(", ")}`);
};
await nearest("Nearest to terrible before", model.lexicon());
await nearest("Nearest to terrible after", model.lexicon({ patch }));

const undone = composePatches(patch, invertPatch(patch));
console.log(`The patch composed with its inverse has ${undone.edits.length} edits.`);
