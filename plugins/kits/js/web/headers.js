// Header fields.

/** For bodies and requests, which alone may read all fields at once. */
export const fieldsOf = (headers) => Headers._fields(headers);

export class Headers {
    /** By lower-case name: the values, in the order of their coming. */
    #fields = new Map();

    constructor(init) {
        if (init === undefined || init === null) return;
        if (typeof init !== "object" && typeof init !== "function") throw new TypeError("headers are an object, or pairs");
        for (const pair of init[Symbol.iterator] ? init : Object.entries(init)) {
            if (pair?.length !== 2) throw new TypeError("each header is a pair of a name and a value");
            this.append(...pair);
        }
    }

    static _fields(headers) {
        return [...headers.#fields].flatMap(([name, values]) => values.map((value) => [name, value]));
    }

    append(name, value) {
        const [key, text] = [named(name), valued(value)];
        this.#fields.set(key, [...(this.#fields.get(key) ?? []), text]);
    }

    set(name, value) {
        const [key, text] = [named(name), valued(value)];
        this.#fields.set(key, [text]);
    }

    delete(name) {
        this.#fields.delete(named(name));
    }

    get(name) {
        return this.#fields.get(named(name))?.join(", ") ?? null;
    }

    getSetCookie() {
        return [...(this.#fields.get("set-cookie") ?? [])];
    }

    has(name) {
        return this.#fields.has(named(name));
    }

    forEach(run, self) {
        for (const [name, value] of this) run.call(self, value, name, this);
    }

    *entries() {
        for (const name of [...this.#fields.keys()].sort()) {
            const values = this.#fields.get(name) ?? [];
            if (name === "set-cookie") yield* values.map((value) => [name, value]);
            else yield [name, values.join(", ")];
        }
    }

    *keys() {
        for (const [name] of this.entries()) yield name;
    }

    *values() {
        for (const [, value] of this.entries()) yield value;
    }

    [Symbol.iterator]() {
        return this.entries();
    }

    get [Symbol.toStringTag]() {
        return "Headers";
    }
}

function named(name) {
    const text = String(name);
    if (!/^[!#$%&'*+\-.^_`|~\w]+$/.test(text)) throw new TypeError(`${JSON.stringify(text)} is no header's name`);
    return text.toLowerCase();
}

function valued(value) {
    const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
    if (/[\0\n\r\u0100-\uffff]/.test(text)) throw new TypeError(`${JSON.stringify(text)} is no header's value`);
    return text;
}
