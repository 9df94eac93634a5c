// Tests the kit's state as it is kept outside Wasm, in memory.

import assert from "node:assert/strict";
import test from "node:test";

import { Permanent, rawJson, Retry } from "./kiln/index.js";
import { bucket, once } from "./kiln/state.js";
import { values } from "./kiln/state-native.js";

const fails = (act, why) => assert.throws(act, (err) => err instanceof Permanent && err.message.startsWith(why));

test("values are kept by bucket and key", () => {
    const seen = bucket("seen");
    assert.equal(seen.get("b"), undefined);
    seen.set("b", 7);
    assert.equal(bucket("other").get("b"), undefined);
    const { value, version } = seen.getVersioned("b");
    assert.equal(value, 7);
    assert.ok(seen.swap("b", version, 8) > version);
    assert.equal(seen.swap("b", version, 9), undefined);
    assert.equal(seen.setIfAbsent("b", 1), false);
    assert.deepEqual([seen.add("a", 40), seen.add("a", 2)], [40, 42]);
    seen.setOnCompletion("c", "\ufefftea ☕");
    assert.equal(seen.get("c"), "\ufefftea ☕");
    assert.throws(() => seen.add("c", 1), { kind: "not-a-number" });
    assert.deepEqual([seen.keys(), seen.keys("", { after: "b" })], [["a", "b", "c"], ["c"]]);
    seen.delete("b");
    assert.equal(seen.get("b"), undefined);
    seen.set("b", 8);
    assert.equal(seen.swap("b", version + 1, 9), undefined, "no version comes twice");
});

test("a sum has 64 bits", () => {
    const sums = bucket("sums");
    sums.set("n", rawJson("9223372036854775806"));
    sums.add("n", 1);
    assert.throws(() => sums.add("n", 1), (err) => err instanceof Retry && err.kind === "not-a-number");
    assert.equal(new TextDecoder().decode(values.get("sums", ["n"])[0].value), "9223372036854775807");
    fails(() => sums.add("n", 0.5), "state: 0.5 is no whole number");
});

test("what JSON cannot hold, or a value that is none, fails for good", () => {
    const odd = bucket("odd");
    const cycle = {};
    cycle.self = cycle;
    for (const value of [undefined, () => 1, Symbol("s"), 1n, cycle]) {
        fails(() => odd.set("k", value), 'state: the value of "k": ');
    }
    const kept = (val) => {
        values.write("odd", [{ key: "k", action: { tag: "set", val }, condition: { tag: "always" } }]);
        return () => odd.get("k");
    };
    const text = (json) => new TextEncoder().encode(json);
    fails(kept(text("{")), 'state: the value of "k": ');
    fails(kept(text("[".repeat(200) + "]".repeat(200))), 'state: the value of "k": nested more than 128 levels deep');
    fails(kept(Uint8Array.of(0x22, 0xff, 0x22)), 'state: the value of "k": ');
});

test("a time is rounded up, 0 is none, and what is less is refused", (t) => {
    const write = t.mock.method(values, "write");
    const asked = (ttlMs) => {
        bucket("timed").set("k", 1, { ttlMs });
        return write.mock.calls.at(-1).arguments[1][0].ttlMs;
    };
    assert.deepEqual([undefined, 0, 0.1, 2.5, Infinity].map(asked), [undefined, undefined, 1, 3, Number.MAX_SAFE_INTEGER]);
    for (const ttlMs of [-1, Number.NaN]) fails(() => asked(ttlMs), `state: a value cannot last for ${ttlMs} ms`);
});

test("what was done once is not done again, and what failed is", async () => {
    let calls = 0;
    const charge = (key, result) =>
        once("charges", key, () => {
            calls += 1;
            if (result instanceof Error) throw result;
            return result;
        });
    await assert.rejects(charge("1", new Retry("declined")), new Retry("declined"));
    for (const receipt of ["a", "b"]) assert.equal(await charge("1", receipt), "a");
    for (const nothing of [undefined, 1]) assert.equal(await charge("2", nothing), null);
    for (const later of [Promise.resolve({ at: new Date(0) }), 1]) {
        assert.deepEqual(await charge("3", later), { at: "1970-01-01T00:00:00.000Z" });
    }
    assert.equal(calls, 4);
    assert.deepEqual(bucket("charges").get("1"), { done: "a" });

    for (const none of [() => 1, Symbol("s"), 1n]) await assert.rejects(charge("4", none), Permanent);
    assert.equal(await charge("4", 4), 4, "the key was freed");
    assert.deepEqual(await charge("5", rawJson("[5]")), [5]);
});

test("what another attempt is at is tried later, and what is not of once never", async () => {
    const of = (kept) => {
        bucket("charges").set("k", kept);
        return once("charges", "k", () => assert.fail("it is not done"));
    };
    await assert.rejects(of("under_way"), { name: "Retry", afterMs: 10_000 });
    const why = 'state: the value of "k": it is not of what is done once';
    for (const kept of [null, 1, "done", [1], { undone: 1 }]) await assert.rejects(of(kept), new Permanent(why));
});

test("a claim that cannot be deleted hides nothing", async (t) => {
    const { write } = values;
    t.mock.method(values, "write", (name, changes) => {
        if (changes[0].action.tag !== "delete") return write(name, changes);
        throw Object.assign(new Error("away"), { payload: { kind: "unavailable", message: "away" } });
    });
    const declined = new Permanent("declined");
    await assert.rejects(once("charges", "6", () => Promise.reject(declined)), declined);
});
