import { Permanent, Retry } from "./kiln/index.js";
import { bucket, once } from "./kiln/state.js";

/** What the act `state` of all languages does. */
export async function remember(key: string) {
    const things = bucket("things");
    const before = things.get(key) ?? null;
    things.set(key, { text: "tea ☕", n: 1 });
    const found = things.getVersioned(key);
    if (!found) throw new Retry("no value");
    const { value: read, version } = found;
    const absent = things.setIfAbsent(key, 0);
    const swapped = things.swap(key, version, [1]) !== undefined;
    const stale = things.swap(key, version, [2]) !== undefined;
    things.add(`${key}/n`, 40);
    const counted = things.add(`${key}/n`, 2);
    const keys = things.keys(key);
    things.delete(key);
    const gone = things.get(key) ?? null;
    let calls = 0;
    const work = () =>
        once("things", `${key}/once`, () => {
            calls += 1;
            return "done";
        });
    const twice = [await work(), await work()];
    things.addOnCompletion("jobs", 1);
    return { before, read, absent, swapped, stale, counted, keys, gone, once: twice, calls };
}

/** What the act `share` of all languages does. */
export async function share({ key, text, n }: { key: string; text: string; n: number }) {
    const things = bucket("things");
    const before = things.get(key) ?? null;
    things.set(key, { text, n });
    const sum = things.add(`${key}/n`, n);
    return { before, sum, once: await once("things", `${key}/once`, () => text) };
}

/** What the act `decline` of all languages does. */
export function decline({ key, message }: { key: string; message: string }) {
    return once("things", key, () => {
        throw new Permanent(message);
    });
}
