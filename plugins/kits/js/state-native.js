// Keeps values in memory, outside Wasm, where handlers are tested. No bounds, and no end of time.

const kept = new Map();
let version = 0;

const id = (bucket, key) => JSON.stringify([bucket, key]);

const refuse = (kind, key) => {
    const message = `the value of ${JSON.stringify(key)} is not as the change expects it`;
    throw Object.assign(new Error(message), { payload: { kind, message } });
};

export const encode = (text) => new TextEncoder().encode(text);
export const decode = (bytes) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);

function made(bucket, { key, action, condition }) {
    const old = kept.get(id(bucket, key));
    if (condition.tag === "absent" && old) refuse("conflict", key);
    if (condition.tag === "version" && old?.version !== condition.val) refuse("conflict", key);
    if (action.tag === "delete") return { key };
    if (action.tag === "set") return { key, value: action.val, number: 0 };
    const before = old ? decode(old.value) : "0";
    if (!/^(0|-?[1-9]\d*)$/.test(before)) refuse("not-a-number", key);
    const sum = BigInt(before) + BigInt(action.val);
    if (sum !== BigInt.asIntN(64, sum)) refuse("not-a-number", key);
    return { key, value: encode(String(sum)), number: Number(sum) };
}

function write(bucket, changes) {
    const all = changes.map((change) => made(bucket, change));
    return all.map(({ key, value, number }) => {
        if (value === undefined) {
            kept.delete(id(bucket, key));
            return { version: 0, number: 0 };
        }
        version += 1;
        kept.set(id(bucket, key), { value, version });
        return { version, number };
    });
}

export const values = {
    get: (bucket, keys) => keys.map((key) => kept.get(id(bucket, key))),
    listKeys(bucket, prefix, after, limit) {
        const keys = [...kept.keys()].map((pair) => JSON.parse(pair)).filter(([of]) => of === bucket);
        const wanted = keys.map(([, key]) => key).filter((key) => key.startsWith(prefix) && !(key <= after));
        return wanted.sort().slice(0, limit);
    },
    write,
    // A test's call of a handler is taken for a job that is acknowledged.
    writeOnCompletion: (bucket, changes) => void write(bucket, changes),
};
