import { bucket, once } from "./kiln/state.js";

/** What the act `state` of all languages does. */
export function remember(key) {
    const things = bucket("things");
    const before = things.get(key) ?? null;
    things.set(key, { text: "tea ☕", n: 1 });
    const { value: read, version } = things.getVersioned(key);
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
    const twice = [work(), work()];
    things.addOnCompletion("jobs", 1);
    return { before, read, absent, swapped, stale, counted, keys, gone, once: twice, calls };
}
