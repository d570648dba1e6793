import { expect, test } from "bun:test";
import { open, overflow, playgroundSuite, runsOf, START, STEERING, serveApp, textOf } from "./support.ts";

const TIMEOUT = 30_000;

playgroundSuite("the playground", (setting) => {
  test(
    "typing, steering and sliding work, and a link reproduces the result",
    async () => {
      const { page, problems } = await open(setting.browser, `${setting.server.url}${START}`);
      const expected = await runsOf(setting.model);
      expect(await textOf(page, "default")).toBe(expected.default);
      expect(await textOf(page, "steered")).toBe(expected.steered);
      expect(expected.steered).not.toBe(expected.default);

      await page.getByLabel("Prompt", { exact: true }).fill("The water was");
      await page.getByLabel("Direction").fill("cold - warm");
      await page.waitForFunction(() =>
        /^cold/.test(document.querySelector(".readout[data-change]")?.textContent ?? ""),
      );
      const readout = page.locator(".readout[data-change][aria-busy=false]");
      const before = Number(await readout.getAttribute("data-change"));
      const text = await textOf(page, "steered");
      expect(text).toStartWith("The water was");

      const slider = page.getByLabel(/^Strength/);
      await slider.focus();
      for (let i = 0; i < 8; i++) await page.keyboard.press("ArrowRight");
      expect(await slider.inputValue()).toBe("0.18");
      await page.waitForFunction((before) => {
        const readout = document.querySelector(".readout[data-change][aria-busy=false]");
        return readout && Number(readout.getAttribute("data-change")) !== before;
      }, before);
      expect(Number(await readout.getAttribute("data-change"))).toBeGreaterThan(before);
      expect(await readout.textContent()).toContain("outside the null range");
      await page.waitForFunction(
        (text) => document.querySelector("[data-run=steered][aria-busy=false]")?.textContent !== text,
        text,
      );
      const steered = await textOf(page, "steered");
      await page.waitForFunction(() => location.hash.includes("0.18"));
      const link = page.url();
      expect(problems).toEqual([]);
      await page.close();

      const again = await open(setting.browser, link);
      expect(await again.page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("The water was");
      expect(await again.page.getByLabel(/^Strength/).inputValue()).toBe("0.18");
      expect(await textOf(again.page, "steered")).toBe(steered);
      expect(again.problems).toEqual([]);
      await again.page.close();
    },
    TIMEOUT,
  );

  test(
    "the panels of a token and of a signal",
    async () => {
      const { page, problems } = await open(
        setting.browser,
        `${setting.server.url}#prompt="the king"&length=8`,
      );
      await page.getByRole("group", { name: "Prompt tokens" }).getByText("king").click();
      const panel = page.getByRole("complementary");
      await panel.getByText("Nearest neighbours").waitFor();
      expect(await panel.getByRole("heading", { level: 2 }).textContent()).toContain(" king");
      expect(await panel.getByRole("list", { name: "Neighbours" }).textContent()).toContain("king");
      const recipe = panel.getByRole("list", { name: "Recipe" }).getByRole("listitem");
      expect(await recipe.count()).toBe(12);
      const effect = panel.getByRole("region", { name: "Effect" });
      await effect.getByRole("listitem").first().waitFor();
      const { cells } = await setting.model.lens(setting.model.tokenize("the king"), {
        interventions: [{ ...STEERING, target: { token: " king" } }],
      });
      const expected = cells
        .at(-1)!
        .at(-1)!
        .top.map(({ text }) => text.trim());
      const listed = await effect.getByRole("list").nth(1).getByRole("listitem").allTextContents();
      expect(listed.map((text) => text.split(/[ ·]/)[0])).toEqual(expected);

      const signal = (await recipe.first().getByRole("button").textContent())!;
      await recipe.first().getByRole("button").click();
      await panel.getByText("Activation on the prompt").waitFor();
      expect(await panel.getByRole("heading", { level: 2 }).textContent()).toBe(`signal ${signal}`);
      const activations = panel.getByRole("group", { name: "Activations" }).getByRole("button");
      await activations.first().waitFor();
      expect(await activations.count()).toBe(setting.model.tokenize("the king").length);
      await panel.getByRole("button", { name: "Steer with this signal" }).click();
      expect(await page.getByLabel("Direction").nth(1).inputValue()).toBe(signal);
      await page.waitForFunction((signal) => location.hash.includes(`signal=${signal}`), signal);
      await page.keyboard.press("Escape");
      await panel.waitFor({ state: "detached" });
      expect(problems).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "an invalid target is reported with a remedy",
    async () => {
      const rack = JSON.stringify([{ text: "great - thisisnotaword" }]);
      const { page } = await open(setting.browser, `${setting.server.url}#rack=${encodeURIComponent(rack)}`);
      const notice = page.getByRole("alert").first();
      await notice.waitFor();
      expect(await notice.textContent()).toMatch(/^Intervention 1, target.expression: .*thisisnotaword/);
      expect(await notice.locator("p").count()).toBe(2);
      await page.getByLabel("Direction").fill("great - terrible");
      await notice.waitFor({ state: "detached" });
      await textOf(page, "steered");
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "Back returns to earlier views, a changed fragment is validated, and errors number interventions as the page does",
    async () => {
      const { page, problems } = await open(setting.browser, `${setting.server.url}${START}`);
      for (const view of ["Explain", "Lens"]) {
        await page.getByRole("tab", { name: view }).click();
        await page.waitForFunction(
          (view) => location.hash.includes(`"${view}"`.toLowerCase().replaceAll('"', "%22")),
          view,
        );
      }
      await page.goBack();
      await page.getByText("By component").first().waitFor();
      await page.goBack();
      expect(await textOf(page, "default")).toBe((await runsOf(setting.model)).default);

      const rack = [{ on: false }, { last: 20, op: "zz", amount: 2 }, { text: "thisisnotaword" }];
      await page.evaluate(
        (hash) => {
          location.hash = hash;
        },
        `length=8&rack=${encodeURIComponent(JSON.stringify(rack))}`,
      );
      const notice = page.getByRole("alert").first();
      await notice.waitFor();
      expect(await notice.locator("p").first().textContent()).toMatch(/^Intervention 3, target.expression: /);
      expect(await page.getByLabel("Last layer").nth(1).inputValue()).toBe("5");
      await page.setViewportSize({ width: 390, height: 844 });
      await page.getByLabel("Direction").nth(2).fill("great - terrible");
      await page.locator(".curve .dot circle").waitFor();
      expect(await overflow(page)).toBe(0);

      // A line break can be a target; a part of a multi-byte character cannot.
      const newline = setting.model.tokenize("\n")[0];
      await page.goto(`${setting.server.url}#length=8&rack=[]&token=${newline}`);
      await page.getByRole("button", { name: "Steer with this token" }).click();
      await page.locator(".readout[data-change]").waitFor();
      const part = setting.model.tokenize("\u{1f600}")[0];
      expect(setting.model.tokenizer.tokenText(part)).toContain("\ufffd");
      await page.goto(`${setting.server.url}#length=8&rack=[]&token=${part}`);
      await page.getByText("a part of a multi-byte character").waitFor();
      expect(problems.filter((problem) => !problem.includes("400"))).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "an invalid address, and a server that requires an API key",
    async () => {
      const nonsense = `#view=9&rack=[3,{"amount":"x","on":2}]&prompt=7&seed="q"&patch=4&token="x"&lens&length=8&cell=[1]&find=3&frame={"x":0,"y":0,"scale":-1}`;
      const { page, problems } = await open(setting.browser, `${setting.server.url}${nonsense}`);
      expect(await textOf(page, "steered")).toContain("When the king came home");
      expect(await page.getByLabel("Direction").count()).toBe(2);
      await page.waitForFunction(() => !/cell|find|frame/.test(location.hash));
      expect(problems).toEqual([]);

      const guarded = serveApp(setting.model, ["secret"]);
      await page.goto(`${guarded.url}${START}`);
      await page.getByLabel("API key").fill("secret");
      await page.getByRole("button", { name: "Use API key" }).click();
      expect(await textOf(page, "default")).toBe((await runsOf(setting.model)).default);
      await page.close();
      await guarded.stop(true);
    },
    TIMEOUT,
  );
});
