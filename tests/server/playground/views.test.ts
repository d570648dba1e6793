import { expect, test } from "bun:test";
import type { Intervention } from "../../../runtime/mod.ts";
import { Lexicon } from "../../../runtime/signals/lexicon.ts";
import {
  HELD_OUT_TEXT,
  interventions,
  open,
  overflow,
  PROMPT,
  playgroundSuite,
  SAMPLING,
  START,
  STEERING,
  textOf,
} from "./support.ts";

const TIMEOUT = 30_000;

playgroundSuite("views of the playground", (setting) => {
  test(
    "views, tokens and the map work by keyboard alone, with a visible focus",
    async () => {
      const { page, problems } = await open(setting.browser, `${setting.server.url}${START}`);
      await page.getByRole("tab").first().waitFor();
      const press = (...keys: string[]) =>
        keys.reduce((all, key) => all.then(() => page.keyboard.press(key)), Promise.resolve());
      const focused = () =>
        page.evaluate(
          () => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent,
        );
      await press("Tab", "Tab", "Tab");
      expect(await focused()).toBe("Steer");
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement!).outlineStyle);
      expect(outline).toBe("solid");
      await press("ArrowRight");
      expect(await focused()).toBe("Explain");
      await page.getByText("By component").first().waitFor();
      // Tab to the prompt, then to its tokens; the arrow selects the second token.
      await press("Tab", "Tab", "ArrowRight", "Enter");
      await page.waitForFunction(() => location.hash.includes("position=1"));
      expect(await focused()).toBe(" food");
      const tokens = setting.model.tokenize(PROMPT);
      const [most] = (await setting.model.explain(tokens, { position: 1, interventions })).signals;
      const first = page.getByRole("list", { name: "By signal" }).getByRole("button").first();
      // Waits for the new list: the previous one stays until then.
      await first.filter({ hasText: new RegExp(`^${most.signal}$`) }).focus();
      await press("Enter");
      await page.getByRole("button", { name: "Close" }).focus();
      const opener = await page.getByRole("complementary").getByRole("heading", { level: 2 }).textContent();
      await press("Enter");
      await page.getByRole("complementary").waitFor({ state: "detached" });
      expect(opener).toContain((await focused())!);
      await page.getByRole("tab", { name: "Explain" }).focus();
      await press("ArrowRight");
      const mostLikely = page.getByRole("list", { name: "Most likely tokens" });
      const { cells } = await setting.model.lens(tokens, { interventions });
      const tokensOf = (layer: number, position: number) =>
        cells[layer][position].top.map(({ text }) => text.trim()).join(" ");
      const listed = async () => (await mostLikely.getByRole("button").allTextContents()).join(" ");
      await mostLikely.waitFor();
      expect((await listed()).replaceAll("·", "")).toBe(tokensOf(6, 2));
      await press("Tab", "Tab", "Tab", "ArrowDown", "ArrowLeft");
      await page.waitForFunction(() => location.hash.includes("cell=%5B5%2C1%5D"));
      expect((await listed()).replaceAll("·", "")).toBe(tokensOf(5, 1));
      await page.getByRole("tab", { name: "Lens" }).focus();
      await press("ArrowRight");
      await page.getByText("800 frequent words").waitFor();
      await press("Tab");
      await page.keyboard.type("king");
      await page.getByRole("button", { name: "Zoom in" }).focus();
      await press("Enter");
      await page.waitForFunction(() => /find=%22king%22.*frame=/.test(location.hash));
      await page.getByRole("status").getByRole("button", { name: "king", exact: true }).focus();
      await press("Enter");
      await page.getByRole("complementary").getByText("Nearest neighbours").waitFor();
      // After a change of view, the word that opened the panel is gone, so the focus moves to the tab.
      await page.getByRole("button", { name: "Steer with this token" }).focus();
      await press("Enter");
      await page.getByRole("heading", { name: "Interventions" }).waitFor();
      await press("Escape");
      await page.getByRole("complementary").waitFor({ state: "detached" });
      expect(await focused()).toBe("Steer");
      expect(problems).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "swap exchanges two directions, and only interventions with a strength have a null band",
    async () => {
      const prompt = "When the king came home,";
      const rack = [{ op: "swap", text: "king", other: "queen" }, { text: "happy - sad" }];
      const hash = `#prompt="${prompt}"&length=8&temperature=0&rack=${encodeURIComponent(JSON.stringify(rack))}`;
      const { page, problems } = await open(setting.browser, `${setting.server.url}${hash}`);
      const exchange: Intervention = {
        op: "swap",
        target: { expression: "king" },
        with: { expression: "queen" },
        hook: "hook_resid_post",
        layers: [0, 3],
      };
      let text = prompt;
      const all = [exchange, ...interventions];
      for await (const event of setting.model.steer(prompt, { ...SAMPLING, interventions: all })) {
        if (event.run === "steered") text += event.text;
      }
      expect(await textOf(page, "steered")).toBe(text);
      expect(await page.getByRole("slider").count()).toBe(1);
      await page.locator(".readout[data-change]").waitFor();
      expect(problems).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "standard deviations, means, positions and conditions; Explain shows the interventions as a component",
    async () => {
      const prompt = "When the king came home,";
      const rack = [
        { unit: "sigma", amount: 4, condition: "below", signal: 9, threshold: 0.5 },
        { op: "ablate", kind: "signal", text: "17", replacement: "mean", positions: "at", at: "1, 2" },
        { text: "king - queen", positions: "generated" },
      ];
      const hash = `#prompt="${prompt}"&length=8&temperature=0&rack=${encodeURIComponent(JSON.stringify(rack))}`;
      const { page, problems } = await open(setting.browser, `${setting.server.url}${hash}`);
      const place = { hook: "hook_resid_post", layers: [0, 3] } as const;
      const happier = {
        ...interventions[0],
        strength: 4,
        unit: "sigma",
        when: { signal: 9, lt: 0.5 },
      } as const;
      const ablation: Intervention = {
        op: "ablate",
        ...place,
        target: { signal: 17 },
        ablateWith: "mean",
        positions: [1, 2],
      };
      const later: Intervention = {
        ...STEERING,
        target: { expression: "king - queen" },
        positions: "generated",
      };
      const reference = setting.model.tokenize(HELD_OUT_TEXT.slice(0, 16_384)).subarray(0, 1024);
      let text = prompt;
      const all = { interventions: [happier, ablation, later], reference };
      for await (const event of setting.model.steer(prompt, { ...SAMPLING, ...all })) {
        if (event.run === "steered") text += event.text;
      }
      expect(await textOf(page, "steered")).toBe(text);
      const readout = page.locator(".readout[data-change][aria-busy=false]");
      const onPrompt = { interventions: [happier, ablation], reference };
      const { change } = await setting.model.chanceBand(setting.model.tokenize(prompt), {
        ...onPrompt,
        target: " happy",
      });
      expect(Number(await readout.getAttribute("data-change"))).toBeCloseTo(change, 4);
      // An intervention on generated tokens only has no null band.
      expect([await readout.count(), await page.getByRole("slider").count()]).toEqual([1, 2]);

      await page.getByRole("tab", { name: "Explain" }).click();
      const writers = page.getByRole("list", { name: "By component" }).getByRole("listitem");
      await writers.first().waitFor();
      const explanation = await setting.model.explain(setting.model.tokenize(prompt), onPrompt);
      const { contribution } = explanation.writers.at(-1)!;
      expect(await writers.last().textContent()).toBe(
        `interventions${contribution < 0 ? "−" : "+"}${Math.abs(contribution).toFixed(2)}`,
      );

      await page.getByRole("tab", { name: "Steer" }).click();
      await page.getByLabel("Condition").first().selectOption("always");
      await page.getByLabel("Positions").nth(1).selectOption("prompt only");
      await page.waitForFunction(() => location.hash.includes("prompt%22%2C%22at"));
      await textOf(page, "steered");
      expect(problems).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "a gene patch: its side effects, saving by name, applying",
    async () => {
      const { page, problems } = await open(
        setting.browser,
        `${setting.server.url}#view="patch"&prompt="The food was terrible and"&length=8&temperature=0`,
      );
      await page.getByText("edited tokens", { exact: true }).waitFor();
      expect(await page.getByLabel("Blast radius").textContent()).toMatch(
        /256edited entries of R1edited tokens/,
      );
      await page.getByLabel("Save as").fill("kinder");
      await page.getByRole("button", { name: "Save patch" }).click();
      const statements = page.getByLabel(/^Gene patch/);
      const saved = await statements.inputValue();
      await statements.fill("");
      await page.getByLabel("Load patch").selectOption("kinder");
      await page.waitForFunction((saved) => document.querySelector("textarea")!.value === saved, saved);
      // A loaded patch can be edited and replaced under its name.
      await statements.fill(`${saved} `);
      await page.getByRole("button", { name: "Replace patch" }).waitFor();
      await page.getByLabel("Load patch").selectOption("kinder");
      await page.getByLabel("Apply in the other views").check();
      await page.getByRole("tab", { name: "Steer" }).click();
      await page.getByRole("button", { name: "Remove" }).click();
      await page.getByText("Patched: kinder").waitFor();
      const patch = await setting.model.createPatch('"terrible" += 0.6 * ("great" - "terrible")');
      const prompt = "The food was terrible and";
      let text = prompt;
      for await (const event of setting.model.generate(prompt, { ...SAMPLING, patch })) text += event.text;
      await page.waitForFunction(
        (text) => document.querySelector("[data-run=steered][aria-busy=false]")?.textContent === text,
        text,
      );
      // The panel shows the patched recipe.
      await page.getByLabel("Prompt tokens").getByRole("button", { name: "terrible" }).click();
      const panel = page.getByRole("complementary");
      await panel.getByText(", patched").waitFor();
      const lexicon = await Lexicon.of(setting.model, { patch });
      const [near] = await lexicon.neighbours(lexicon.find(" terrible"));
      const neighbours = panel.getByRole("list", { name: "Neighbours" });
      expect(await neighbours.locator(".value").first().textContent()).toBe(`+${near.cosine.toFixed(2)}`);
      expect(await neighbours.getByRole("button").first().textContent()).toContain(near.text.trim());
      const [own] = await (await Lexicon.of(setting.model)).neighbours(lexicon.find(" terrible"));
      expect(own.cosine).not.toBeCloseTo(near.cosine, 2);
      await page.keyboard.press("Escape");
      await page.getByRole("tab", { name: "Map" }).click();
      await page.getByText("The patch is applied.").waitFor();
      expect(problems).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "the list of interventions: buttons stay under the pointer, the focus follows a moved row, numbers may be negative",
    async () => {
      const texts = ["happy - sad", "king - queen", "great - terrible"];
      const rack = encodeURIComponent(JSON.stringify(texts.map((text) => ({ text }))));
      const { page, problems } = await open(setting.browser, `${setting.server.url}${START}&rack=${rack}`);
      const directions = page.getByLabel("Direction");
      const listed = () =>
        directions.evaluateAll((all) => all.map((each) => (each as HTMLInputElement).value));
      await page.locator(".curve .dot circle").waitFor();
      const [a, b, c] = texts;
      await page.getByRole("button", { name: "Move up" }).nth(2).focus();
      const focusedRow = (row: number) =>
        document.activeElement?.closest("li") === document.querySelectorAll(".rack li")[row];
      for (const [row, expected] of [
        [1, [a, c, b]],
        [0, [c, a, b]],
      ] as const) {
        await page.keyboard.press("Enter");
        await page.waitForFunction(focusedRow, row);
        expect(await listed()).toEqual([...expected]);
      }
      // The first row shows the band. Pressing a button in another row moves nothing until it is released.
      await page.getByRole("button", { name: "Remove" }).nth(2).click({ delay: 80 });
      await page.waitForFunction(() => document.querySelectorAll(".rack li").length === 2);
      expect(await listed()).toEqual([c, a]);
      const isRemove = () => document.activeElement?.getAttribute("aria-label") === "Remove";
      await page.waitForFunction(isRemove);
      await page.getByLabel("Condition").first().selectOption("if signal below");
      await page.getByLabel("Threshold").fill("");
      await page.getByLabel("Threshold").pressSequentially("-0.5");
      await page.keyboard.press("Tab");
      await page.waitForFunction(() => decodeURIComponent(location.hash).includes('"threshold":-0.5'));
      expect(problems).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "the mouse pans and zooms the map, and opens words",
    async () => {
      const { page, problems } = await open(setting.browser, `${setting.server.url}#view="map"&find="king"`);
      const map = page.getByLabel("Map of the recipe space");
      const mark = map.locator(".mark circle").first();
      await mark.waitFor();
      const centre = async () => {
        const { x, y, width, height } = (await mark.boundingBox())!;
        return [x + width / 2, y + height / 2] as const;
      };
      const panels = () => page.getByRole("complementary").count();
      const { mouse } = page;
      const [x, y] = await centre();
      await mouse.move(x, y);
      // Zooming keeps the point under the pointer.
      await mouse.wheel(0, -200);
      await page.waitForFunction(() => location.hash.includes("frame="));
      expect((await centre()).map(Math.round)).toEqual([x, y].map(Math.round));
      await mouse.down();
      await mouse.move(x + 30, y - 20, { steps: 3 });
      await mouse.up();
      const [movedX, movedY] = await centre();
      expect([Math.round(movedX - x), Math.round(movedY - y)]).toEqual([30, -20]);
      expect(await panels()).toBe(0);
      await mouse.move(movedX, movedY);
      await mouse.down();
      await mouse.move(movedX + 2, movedY);
      await mouse.up();
      await page.getByRole("complementary").getByText("Nearest neighbours").waitFor();
      expect(problems).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "two fingers zoom the map, and a word that is not on it is found in the vocabulary",
    async () => {
      const { page, problems } = await open(
        setting.browser,
        `${setting.server.url}#view="map"&find="hippopot"`,
        390,
      );
      await page.getByText("No word on the map starts with this text.").waitFor();
      // A token that is too rare for the map.
      const rare = setting.model.tokenizer.tokenText(setting.model.tokenizer.vocabSize - 200);
      expect(rare).toMatch(/^ [a-z]+$/);
      await page.getByLabel("Find").fill(rare.trim());
      await page.getByRole("status").getByRole("button", { name: rare.trim(), exact: true }).click();
      await page.getByRole("complementary").getByText("Nearest neighbours").waitFor();
      await page.keyboard.press("Escape");

      const { x, y, width, height } = (await page.getByLabel("Map of the recipe space").boundingBox())!;
      const client = await page.context().newCDPSession(page);
      await client.send("Emulation.setTouchEmulationEnabled", { enabled: true, maxTouchPoints: 2 });
      const fingers = (apart: number) =>
        [-1, 1].map((side) => ({ x: x + width / 2 + side * apart, y: y + height / 2, id: side + 1 }));
      const touch = (type: "touchStart" | "touchMove" | "touchEnd", apart?: number) =>
        client.send("Input.dispatchTouchEvent", {
          type,
          touchPoints: apart === undefined ? [] : fingers(apart),
        });
      await touch("touchStart", 20);
      const scales: number[] = [];
      for (const apart of [30, 60]) {
        const before = page.url();
        await touch("touchMove", apart);
        await page.waitForURL((url) => url.hash.includes("frame=") && url.href !== before);
        const frame = new URLSearchParams(new URL(page.url()).hash.slice(1)).get("frame");
        scales.push(JSON.parse(frame!).scale);
      }
      await touch("touchEnd");
      expect(scales[1] / scales[0]).toBeCloseTo(2, 1);
      await page.waitForTimeout(100);
      expect(await page.getByRole("complementary").count()).toBe(0);
      expect(problems).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "no view scrolls horizontally, at 390 px and at 1280 px",
    async () => {
      const { page, problems } = await open(setting.browser, setting.server.url, 390);
      for (const view of ["steer", "explain", "lens", "map", "patch"]) {
        await page.goto(`${setting.server.url}#view="${view}"&token=600`);
        await page.getByText("Nearest neighbours").waitFor();
        for (const width of [390, 1280]) {
          await page.setViewportSize({ width, height: 844 });
          expect(`${view} ${width}: ${await overflow(page)}`).toBe(`${view} ${width}: 0`);
        }
      }
      expect(problems).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );
});
