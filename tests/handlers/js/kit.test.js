// Tests the kit outside Wasm. What needs the host is tested by the suite, which runs the component.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { register } from "node:module";
import test from "node:test";
import { transformSync } from "esbuild";

import { handler } from "./handler.js";
import { describe } from "./kiln/format.js";
import { checkStatus, handle, log, Permanent, rawJson, Retry } from "./kiln/index.js";
import { array, integer, object, optional, string } from "./kiln/payload.js";
import { readable } from "./kiln/stack.js";
import { attempt } from "./kiln/testing.js";
import { structuredClone as clone } from "./kiln/web/clone.js";
import { streamOf } from "./kiln/web/stream.js";
import { vendored } from "./vendor.mjs";

// The clock of the sandbox, for what imports it.
const clock = `
    export const now = () => performance.now() * 1e6;
    export const subscribeDuration = (ns) => ({
        block: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ns / 1e6),
    });`;
register(`data:text/javascript,${encodeURIComponent(`
    const url = "data:text/javascript,${encodeURIComponent(clock)}";
    export const resolve = (name, context, next) =>
        name.startsWith("wasi:clocks/") ? { url, shortCircuit: true } : next(name, context);`)}`);
const { clearTimeout, KilnPromise, setTimeout, settle } = await import("./kiln/promise.js");
const events = await import("./kiln/web/events.js");

const sleep = (ms) => new KilnPromise((wake) => setTimeout(wake, ms));

const record = (payload, more = {}) => ({
    id: "1",
    name: "n",
    queue: "q",
    payload,
    attempt: 1,
    maxAttempts: 3,
    createdAtMs: 0,
    metadata: "{}",
    ...more,
});

test("a handler's answer is put in the contract's terms", () => {
    const run = (act) => handle(act).handle(record("null"));
    assert.equal(run(() => ({ a: 1 })), '{"a":1}');
    assert.equal(run(() => rawJson("12345678901234567890")), "12345678901234567890");
    assert.equal(run(() => null), undefined);
    const failing = (failure) => () => {
        throw failure;
    };
    assert.throws(() => run(failing(new Retry("r"))), { tag: "retry", val: "r" });
    assert.throws(() => run(failing(new Retry("r", { afterMs: 1.5 }))), { tag: "retry-after", val: ["r", 2] });
    assert.throws(() => run(failing(new Retry("r", { afterMs: -1 }))), { tag: "retry-after", val: ["r", 0] });
    assert.throws(() => run(failing(new Permanent("p\ud800"))), { tag: "permanent", val: "p\ufffd" });
    assert.throws(() => run(() => () => 1), { tag: "permanent", val: "result: a function is no JSON value" });
    assert.throws(() => run(() => 1n), { tag: "permanent" });
});

test("an attempt sees its job", async () => {
    const createdAt = new Date(1234);
    const job = await attempt(handler, { do: "describe" }, { attempt: 2, createdAt, metadata: { a: 1 } });
    assert.deepEqual([job.attempt, job.created_at_ms, job.metadata], [2, 1234, { a: 1 }]);
    assert.deepEqual(await attempt(handler, { do: "config", key: "k" }, { config: { k: "v" } }), { value: "v" });
    const progress = await attempt(handler, { do: "progress" }, { isCancelled: true });
    assert.deepEqual(progress, { remaining: true, cancelled: true });
});

test("a payload that does not fit says which part does not", () => {
    const order = object({ id: string, items: array(object({ n: integer, note: optional(string) })) });
    assert.deepEqual(order({ id: "a", items: [{ n: 1, note: null, more: 1 }] }), {
        id: "a",
        items: [{ n: 1, note: undefined }],
    });
    const wrong = (payload, message) => {
        const failing = () => handle(() => {}, { payload: order }).handle(record(JSON.stringify(payload)));
        assert.throws(failing, { tag: "permanent", val: `payload: ${message}` });
    };
    wrong(null, "expected an object, got null");
    wrong({ items: [] }, "id: missing");
    wrong({ id: "a", items: {} }, "items: expected an array, got an object");
    wrong({ id: "a", items: [{ n: 1 }, { n: 1.5 }] }, "items[1].n: expected a whole number, got 1.5");
    wrong({ id: "a", items: [{ n: 1, note: 7 }] }, "items[0].note: expected a string, got 7");
});

test("promises and timers run until the result is there", () => {
    const order = [];
    const say = (what) => () => void order.push(what);
    setTimeout(say("20 ms"), 20);
    setTimeout(say("10 ms"), 10);
    clearTimeout(setTimeout(say("never"), 5));
    const late = setTimeout(say("after the result"), 10_000);
    KilnPromise.resolve().then(say("first")).then(say("third"));
    KilnPromise.resolve().then(say("second"));
    assert.equal(settle(sleep(30).then(() => "done")), "done");
    assert.deepEqual(order, ["first", "second", "third", "10 ms", "20 ms"]);
    clearTimeout(late);
    assert.deepEqual(settle(KilnPromise.all([1, sleep(1).then(() => 2)])), [1, 2]);
    assert.equal(settle(sleep(1).finally(() => {}).then(() => 3)), 3);
});

test("what nobody waits for does not fail unseen", () => {
    assert.throws(() => settle(KilnPromise.reject(new Error("own"))), /own/);
    assert.throws(() => settle(new KilnPromise(() => {})), /nothing is left to settle/);
    const forgetful = () => {
        KilnPromise.reject(new Error("forgotten"));
        return 1;
    };
    assert.throws(() => settle(forgetful()), /forgotten/);
});

test("a stack tells places in the source", () => {
    const source = "// one\n\nexport function total(items: number[]): number {\n    throw new Error('x');\n}\n";
    const file = "../../handler.ts";
    const { code, map } = transformSync(source, { loader: "ts", sourcemap: "external", sourcefile: file });
    const line = code.split("\n").findIndex((text) => text.includes("throw")) + 1;
    globalThis.kilnSourceMap = map;
    const stack = (...frames) => ["Error: x in a.txt:1:2", ...frames].join("\n    at ");
    const bundled = stack(`total (/bundle.js:${line}:9)`, "helper (/bundle.js:999:1)", "map (native)");
    assert.equal(readable(bundled), stack("total (handler.ts:4:11)", "map (native)"));
    delete globalThis.kilnSourceMap;
    assert.equal(readable(bundled), bundled);
});

test("errors are told with their causes", () => {
    const err = new TypeError("outer", { cause: new Error("inner") });
    assert.match(describe(err), /^TypeError: outer\n    at [^]*\ncaused by Error: inner\n    at /);
    assert.equal(describe("text"), "text");
});

test("a line of the log holds values as they are written", (t) => {
    const written = t.mock.method(console, "error", () => {});
    const cycle = {};
    cycle.self = cycle;
    log.warn("got", { a: 1 }, undefined, 2n, cycle);
    assert.deepEqual(written.mock.calls[0].arguments, ["warn", "", 'got {"a":1} undefined 2 [object Object]']);
});

test("what the kit carries along is made of the pinned packages", async () => {
    for (const [name, text] of Object.entries(await vendored())) {
        assert.equal(readFileSync(new URL(`kiln/web/vendor/${name}`, import.meta.url), "utf8"), text, name);
    }
});

test("a body is read by its chunks without the streams of streams.js", async () => {
    const make = (...pieces) => {
        const source = { left: [...pieces], pull: async () => source.left.shift(), cancel: async () => (source.cancelled = true) };
        return [streamOf(source), source];
    };
    const [whole] = make("a", "b");
    const seen = [];
    for await (const piece of whole) seen.push(piece);
    assert.deepEqual([seen, whole.locked], [["a", "b"], false]);

    const [stream, source] = make("a", "b");
    for await (const piece of stream) {
        assert.equal(piece, "a");
        assert.throws(() => stream.getReader(), TypeError);
        await assert.rejects(stream.cancel(), TypeError);
        break;
    }
    assert.equal(source.cancelled, true);

    const reader = make("a", "b")[0].getReader();
    const both = await Promise.all([reader.read(), reader.read(), reader.read()]);
    assert.deepEqual(both.map(({ value }) => value), ["a", "b", undefined]);
    await reader.closed;
    reader.releaseLock();
    await assert.rejects(reader.read(), TypeError);

    const failing = streamOf({ pull: async () => assert.fail("broken") }).getReader();
    await assert.rejects(failing.read(), /broken/);
    await assert.rejects(failing.closed, /broken/);
});

test("what nobody catches of a request is no crash, however it is wrapped", () => {
    const failing = (err) => () => {
        throw err;
    };
    const run = (err) => handle(failing(err)).handle(record("null"));
    const http = (kind) => Object.assign(new Error("refused"), { name: "HttpError", kind });
    const wrapped = new Error("no stock", { cause: new TypeError("fetch failed", { cause: http("connect") }) });
    assert.throws(() => run(wrapped), { tag: "retry", val: "no stock: fetch failed: refused" });
    assert.throws(() => run(new DOMException("too late", "TimeoutError")), { tag: "retry", val: "too late" });
    const invalid = new TypeError("fetch failed", { cause: http("invalid") });
    assert.throws(() => run(invalid), invalid);

    const answered = (more) => Object.assign(new Error("answered"), more);
    const headers = { "retry-after": "7" };
    assert.throws(() => run(answered({ status: 429, headers })), { tag: "retry-after", val: ["answered", 7000] });
    const response = { status: 503, headers: new Headers(headers) };
    assert.throws(() => run(answered({ response })), { tag: "retry-after", val: ["answered", 7000] });
    for (const status of [408, 425, 500]) {
        assert.throws(() => run(answered({ status, headers })), { tag: "retry", val: "answered" });
    }
    assert.throws(() => run(answered({ status: 401 })), { tag: "permanent", val: "answered" });
    const other = answered({ status: 1 });
    assert.throws(() => run(other), other);
});

test("what is told of an answer names its server and no more", () => {
    const told = (url) => {
        try {
            checkStatus({ status: 503, url, headers: new Headers({ "retry-after": "-1" }) });
        } catch (err) {
            assert.equal(err.afterMs, undefined);
            return err.message;
        }
    };
    for (const url of ["https://ada:secret@a.example:8443/secret", "https://a.example:8443?secret#secret"]) {
        assert.equal(told(url), "https://a.example:8443 answered 503");
    }
    assert.equal(told(""), "the server answered 503");
});

test("a clone is what that of Node.js is", () => {
    const shared = [1, , new Date(5), /t(e)a/gi, 2n, Object(true), null];
    const given = { shared, again: shared, map: new Map([[{ a: 1 }, new Set([shared])]]), error: new RangeError("r") };
    given.self = given;
    given.view = new Uint16Array(new ArrayBuffer(8), 2, 2).fill(7);
    const made = clone(given);
    assert.deepEqual(made, structuredClone(given));
    assert.notEqual(made.shared, shared);
    assert.deepEqual([made.self === made, made.shared === made.again], [true, true]);
    for (const wrong of [() => {}, { a: Symbol() }, new WeakMap(), Promise.resolve()]) {
        assert.throws(() => clone(wrong), { name: "DataCloneError" });
    }
});

test("events reach whoever listens, and signals abort once", () => {
    const seen = [];
    const target = new events.EventTarget();
    const stop = new events.AbortController();
    target.addEventListener("tea", () => seen.push("once"), { once: true });
    target.addEventListener("tea", { handleEvent: () => seen.push("object") });
    target.addEventListener("tea", () => seen.push("until"), { signal: stop.signal });
    target.addEventListener("tea", (event) => event.preventDefault());
    assert.equal(target.dispatchEvent(new events.Event("tea", { cancelable: true })), false);
    stop.abort("enough");
    stop.abort("again");
    assert.equal(target.dispatchEvent(new events.Event("tea")), true);
    assert.deepEqual(seen, ["once", "object", "until", "object"]);

    const any = events.AbortSignal.any([events.AbortSignal.any([stop.signal]), new events.AbortController().signal]);
    assert.deepEqual([any.aborted, any.reason], [true, "enough"]);
    const later = new events.AbortController();
    const both = events.AbortSignal.any([later.signal, new events.AbortController().signal]);
    both.onabort = () => seen.push("aborted");
    later.abort();
    assert.equal(seen.at(-1), "aborted");
    assert.throws(() => both.throwIfAborted(), { name: "AbortError" });
    const timed = events.AbortSignal.timeout(1);
    settle(sleep(5));
    assert.equal(timed.reason?.name, "TimeoutError");
});
