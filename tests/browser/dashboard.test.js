// The dashboard as an operator meets it: each page in a real browser, over a real Redis and a real worker.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { join } from "node:path";
import { Room, openBrowser, plugins, trapped, until } from "./room.js";

const axe = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const PAGES = ["/", "/queues", "/queues/default", "/queues/limited", "/queues/limited/lanes", "/batches", "/batches/import-7", "/failed", "/failed?kind=trap", "/jobs/trap-1", "/failed/bulk?act=retry", "/bulk", "/plugins", "/plugins?text=hello", "/hosts", "/hosts?text=nobody", "/schedules", "/stats", "/stats?since=1h", "/audit", "/jobs/nobody", "/login", "/api/v1"];

let room, browser;

before(async () => {
  room = await Room.open();
  browser = await openBrowser();
  await room.work("--queue", "default");
  const some = Array.from({ length: 60 }, (_, n) => trapped(`trap-${n}`, "resize", n % 3 ? "resize::crop" : "resize::rotate", n));
  await room.fail(...some);
  await room.push("stuck", { id: "s1", name: "nobody-serves-this" });
  const member = (id) => ({ id, name: "hello", payload: { to: "you" }, metadata: { kiln: { batch: { id: "import-7", of: 3 } } } });
  await room.push("default", member("m1"), member("m2"));
  await room.push("limited", { ...member("m3"), name: "nobody-serves-this" });
  await room.wait("limited", "mails", "/customer=acme|*", [{ id: "l1", name: "mails" }, { id: "l2", name: "mails" }], false);
  await room.wait("limited", "mails", "/customer=zed|*", [{ id: "l3", name: "mails" }]);
  await until("the batch is known", async () => (await room.api("/batches/import-7")).done === 2);
  await until("the failed list is known", async () => (await room.api("/failed")).matching >= 60);
});

after(async () => {
  await browser?.close();
  await room?.close();
});

// A page whose console and requests are watched: nothing may be refused, and nothing may be asked of anybody else.
async function page(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("request", (request) => request.url().startsWith(room.address) || page.complaints.push(`asks ${request.url()}`));
  return page;
}

async function open(page, path) {
  const answer = await page.goto(new URL(path, room.address).href);
  return answer.status();
}

for (const scheme of ["light", "dark"]) {
  for (const width of [1280, 390]) {
    test(`every page is accessible and fits, ${scheme} at ${width}`, async () => {
      const tab = await page({ colorScheme: scheme, viewport: { width, height: 900 } });
      for (const path of PAGES) {
        assert.equal(await open(tab, path), 200, path);
        const beyond = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(beyond <= 0, `${path} is ${beyond} px too wide`);
        // Not by a script element: the page's own policy forbids one.
        await tab.evaluate(axe);
        const found = await tab.evaluate(() => axe.run({ resultTypes: ["violations"] }));
        const said = found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).join(" ")}`);
        assert.deepEqual(said, [], path);
      }
      assert.deepEqual(tab.complaints, []);
      await tab.context().close();
    });
  }
}

test("all that matches a filter is put back, and watched to its end", async () => {
  const tab = await page();
  await open(tab, "/failed");
  await tab.selectOption("#plugin", "resize");
  await tab.waitForURL(/plugin=resize/);
  await tab.fill("#text", "index out of");
  await tab.press("#text", "Enter");
  await tab.waitForURL(/text=index/);
  await tab.getByRole("link", { name: /Retry all 60/ }).click();
  await tab.getByRole("heading", { name: "Retry 60 jobs?" }).waitFor();
  await tab.getByRole("button", { name: "Retry 60 jobs" }).click();
  await tab.waitForURL(/\/bulk\//);
  await tab.getByText("done", { exact: true }).waitFor();
  assert.match(await tab.locator("#progress").innerText(), /^60 put back into their queues/);
  // No plugin handles them: they come back, for another cause.
  await until("they fail again", async () => (await room.api("/failed?kind=unknown-job&name=resize")).matching === 60);
  await tab.goto(new URL("/audit", room.address).href);
  await tab.getByRole("cell", { name: /every failed job with plugin resize/ }).waitFor();
  assert.deepEqual(tab.complaints, []);
  await tab.context().close();
});

test("a page brings itself up to date, and keeps what its reader holds", async () => {
  const tab = await page();
  await open(tab, "/queues");
  await tab.getByRole("button", { name: "Live" }).waitFor();
  await tab.focus("#text");
  await tab.keyboard.type("stu");
  await room.push("stuck", { id: "s2", name: "nobody-serves-this" });
  await tab.locator("#queue-stuck td.number", { hasText: /^2$/ }).waitFor();
  assert.equal(await tab.inputValue("#text"), "stu");
  assert.equal(await tab.evaluate(() => document.activeElement.id), "text");
  // Stopped, it stays as it is; going on, it is brought up to date at once.
  await tab.getByRole("button", { name: "Live" }).click();
  await room.push("stuck", { id: "s3", name: "nobody-serves-this" });
  await until("the sample", async () => (await room.api("/queues/stuck")).ready === 3);
  assert.equal(await tab.locator("#queue-stuck td.number", { hasText: /^3$/ }).count(), 0);
  await tab.getByRole("button", { name: "Stopped" }).click();
  await tab.locator("#queue-stuck td.number", { hasText: /^3$/ }).waitFor();
  assert.deepEqual(tab.complaints, []);
  await tab.context().close();
});

test("one tab keeps one stream of events, and none while it is hidden", async () => {
  const tab = await page();
  const streams = new Set();
  tab.on("request", (request) => request.url().endsWith("/events") && streams.add(request));
  tab.on("requestfailed", (request) => streams.delete(request));
  tab.on("requestfinished", (request) => streams.delete(request));
  await open(tab, "/");
  await tab.getByRole("button", { name: "Live" }).waitFor();
  await until("a stream", () => streams.size === 1);
  await tab.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await until("no stream", () => streams.size === 0);
  await tab.context().close();
});

test("a queue is paused and resumed while its worker runs, by the keyboard alone", async () => {
  const tab = await page();
  await open(tab, "/");
  await tab.keyboard.press("Tab");
  assert.equal(await tab.evaluate(() => document.activeElement.textContent), "Skip to content");
  await tab.keyboard.press("g");
  await tab.keyboard.press("q");
  await tab.waitForURL(/\/queues$/);
  await tab.keyboard.press("/");
  await tab.keyboard.type("default");
  await tab.keyboard.press("Enter");
  await tab.waitForURL(/text=default/);
  await tab.getByRole("link", { name: "default", exact: true }).focus();
  await tab.keyboard.press("Enter");
  await tab.getByText("Pause…").focus();
  await tab.keyboard.press("Enter");
  await tab.keyboard.press("Tab");
  await tab.keyboard.type("for the test");
  await tab.keyboard.press("Enter");
  await tab.getByRole("status").getByText("Paused: no host takes a job").waitFor();
  assert.match((await room.api("/queues/default")).paused?.reason ?? "", /for the test|^$/);
  await room.push("default", { id: "p1", name: "hello", payload: { to: "you" } });
  await until("the pause is known", async () => (await room.api("/queues/default")).paused);
  assert.equal((await room.api("/queues/default")).ready, 1);
  await tab.getByRole("button", { name: "Resume" }).focus();
  await tab.keyboard.press("Enter");
  await tab.getByRole("status").getByText("Resumed").waitFor();
  await until("it ran", async () => (await room.api("/jobs/p1")).state === "completed");
  assert.deepEqual(tab.complaints, []);
  await tab.context().close();
});

test("a real failure is understood from its page: kind, place in the code, output", async () => {
  const job = { id: "boom", name: "mischief", max_attempts: 1, payload: { do: "panic", message: "<b>no such order</b>" } };
  await room.push("default", job);
  await until("it failed", async () => (await room.api("/failed/boom")).state === "failed");
  const tab = await page();
  await open(tab, "/failed?text=boom");
  await tab.getByRole("link", { name: "mischief", exact: true }).click();
  await tab.getByRole("heading", { name: "Where it failed" }).waitFor();
  assert.match(await tab.locator("pre .own").innerText(), /mischief/);
  assert.equal(await tab.locator("main b").count(), 0, "what a handler says is no markup");
  await tab.getByText("Delete…").click();
  await tab.getByRole("button", { name: "Delete this job" }).click();
  await tab.getByRole("status").getByText("The failed entry is deleted.").waitFor();
  assert.equal((await room.api("/failed/boom")).status, 404);
  assert.deepEqual(tab.complaints, []);
  await tab.context().close();
});

test("a failed job is tried on a candidate, beside what had failed, and stays where it is", async () => {
  const job = { id: "try-me", name: "mischief", max_attempts: 1, payload: { do: "panic", message: "no such order" } };
  await room.push("default", job);
  await until("it failed", async () => (await room.api("/failed/try-me")).state === "failed");
  const tab = await page();
  await open(tab, "/jobs/try-me");
  await tab.getByText("Try it on another version").click();
  await tab.setInputFiles("#component", join(plugins, "hello.wasm"));
  await tab.getByRole("button", { name: "Try it" }).click();
  await tab.waitForURL(/\/tries\//);
  await tab.getByRole("heading", { name: "As it was tried" }).waitFor({ timeout: 120_000 });
  await tab.getByRole("heading", { name: "As it failed" }).waitFor();
  await tab.getByText("no such order").first().waitFor();
  assert.equal((await room.api("/failed/try-me")).state, "failed");
  await tab.evaluate(axe);
  const found = await tab.evaluate(() => axe.run({ resultTypes: ["violations"] }));
  assert.deepEqual(found.violations.map((one) => one.id), []);
  assert.deepEqual(tab.complaints, []);
  await tab.context().close();
});

test("what waits for a limit is found from the queues, and a batch from its job", async () => {
  const tab = await page();
  await open(tab, "/queues");
  await tab.getByRole("link", { name: "limited", exact: true }).click();
  await tab.getByRole("link", { name: "limits of mails" }).click();
  await tab.getByRole("link", { name: /At a limit 1/ }).click();
  await tab.getByRole("rowheader", { name: "/customer=acme|*" }).waitFor();
  assert.equal(await tab.getByRole("rowheader").count(), 1);
  await open(tab, "/jobs/m3");
  await tab.getByRole("link", { name: "import-7" }).click();
  assert.match(await tab.locator("#progress").innerText(), /^2 of 3 jobs have ended, 67%/);
  await open(tab, "/batches");
  await tab.getByLabel("A batch's id").fill("import-7");
  await tab.keyboard.press("Enter");
  await tab.waitForURL(/\/batches\/import-7$/);
  assert.deepEqual(tab.complaints, []);
  await tab.context().close();
});

test("a failed job is edited and put back as another", async () => {
  await room.fail(trapped("edit-me", "nobody-handles-this", "a::b", 1));
  await until("it is known", async () => (await room.api("/failed/edit-me")).state === "failed");
  const tab = await page();
  await open(tab, "/jobs/edit-me");
  await tab.getByText("Edit it and retry").click();
  await tab.fill("#payload", '{"order": 2}');
  await tab.getByRole("button", { name: "Retry with this payload" }).click();
  await tab.getByRole("status").getByText("with its new payload").waitFor();
  assert.equal((await room.api("/failed/edit-me")).status, 404);
  assert.deepEqual(tab.complaints, []);
  await tab.context().close();
});

test("everything can be read and done without scripts", async () => {
  await room.fail(trapped("plain", "plain", "plain::a", 1));
  await until("it is known", async () => (await room.api("/failed?plugin=plain")).matching === 1);
  const tab = await page({ javaScriptEnabled: false });
  for (const path of PAGES) assert.ok([200, 404].includes(await open(tab, path)), path);
  await open(tab, "/failed?plugin=plain");
  await tab.getByRole("link", { name: /Retry it/ }).click();
  await tab.getByRole("button", { name: "Retry 1 job" }).click();
  await until("it is done", async () => {
    // Without scripts the page reloads itself as well: where the two meet, one of them is broken off.
    await tab.reload().catch(() => {});
    return (await tab.getByText("done", { exact: true }).count()) > 0;
  });
  assert.match(await tab.locator("#progress").innerText(), /^1 put back/);
  await tab.context().close();
});
