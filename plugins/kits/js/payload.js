// Says what a payload has to be. Each of these takes a value and returns it, or throws an error that says which part of
// it is wrong. Any function that does so may stand in their place: one of your own, or the `parse` of zod and its like.

const scalar = (wanted, fits) => (value, path = "") => {
    if (!fits(value)) throw mismatch(value, path, wanted);
    return value;
};

export const string = scalar("a string", (value) => typeof value === "string");
export const boolean = scalar("true or false", (value) => typeof value === "boolean");
export const number = scalar("a number", (value) => typeof value === "number");
export const integer = scalar("a whole number", Number.isSafeInteger);

export const optional = (of) => (value, path) => (value === undefined || value === null ? undefined : of(value, path));

export const array = (of) => (value, path = "") => {
    if (!Array.isArray(value)) throw mismatch(value, path, "an array");
    return value.map((item, i) => of(item, `${path}[${i}]`));
};

export const object = (fields) => (value, path = "") => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw mismatch(value, path, "an object");
    const parsed = Object.entries(fields).map(([key, of]) => [key, of(value[key], path ? `${path}.${key}` : key)]);
    return Object.fromEntries(parsed);
};

function mismatch(value, path, wanted) {
    const why = value === undefined ? "missing" : `expected ${wanted}, got ${kind(value)}`;
    return new TypeError(path ? `${path}: ${why}` : why);
}

function kind(value) {
    if (Array.isArray(value)) return "an array";
    if (typeof value === "object" && value !== null) return "an object";
    return JSON.stringify(value).slice(0, 50);
}
