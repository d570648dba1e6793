/** The methods of `Model` that take words and text, on the bundled model. */
import { afterAll, expect, test } from "bun:test";
import { bundledModel, loadModel } from "../../../runtime/mod.ts";
import { expectError } from "../../support/expect-error.ts";

const model = await loadModel(bundledModel(), { threads: 1 });
afterAll(() => model.dispose());

test("every method accepts text or its ids", async () => {
  const text = "three kings came";
  const ids = model.tokenize(text);
  const filter = { namesFilter: "hook_signals" };
  const [byText, byIds] = [await model.runWithCache(text, filter), await model.runWithCache(ids, filter)];
  expect(byText.get("hook_signals")!.data).toEqual(byIds.get("hook_signals")!.data);
  expect((await model.forward(text)).data).toEqual((await model.forward(ids)).data);
  expect((await model.runWithHooks(text, {})).data).toEqual((await model.runWithHooks(ids, {})).data);
  expect(await model.explain(text)).toEqual(await model.explain(ids));
  expect(await model.lens(text)).toEqual(await model.lens(ids));
  expect(await model.evaluate(text)).toEqual(await model.evaluate(ids));
  expect(await model.scoreTokens(text)).toEqual(await model.scoreTokens(ids));
});

test("a bare word is its token with a leading space, quotes make it literal, and ids are accepted", async () => {
  const spaced = await model.recipe("king");
  expect(spaced.text).toBe(" king");
  expect(await model.recipe('" king"')).toEqual(spaced);
  expect(await model.recipe(spaced.id)).toEqual(spaced);
  await expectError(
    () => model.recipe("king + queen"),
    "usage",
    /^token is "king \+ queen": expected one token/,
  );
  await expectError(() => model.recipe(8192), "usage", /^token is 8192/);
});

test("recipes are sorted by magnitude, and signals list the tokens with the largest weights", async () => {
  const { recipe } = await model.recipe("king", { count: 256 });
  const sizes = recipe.map(({ weight }) => Math.abs(weight));
  expect(sizes).toEqual(sizes.toSorted((a, b) => b - a));
  const [{ signal, weight }] = recipe;
  const { most, least } = await model.signal(signal, { count: model.config.vocab_size });
  const end = weight > 0 ? most : least;
  expect(end.find(({ text }) => text === " king")!.weight).toBe(weight);
  await expectError(() => model.signal(256), "usage", /^signal is 256/);
});

test("the nearest neighbour of king is queen, and excludes the word itself", async () => {
  const neighbours = await model.neighbours("king", { count: 3 });
  expect(neighbours[0].text).toBe(" queen");
  expect(neighbours.every(({ text }) => text !== " king")).toBe(true);
});
