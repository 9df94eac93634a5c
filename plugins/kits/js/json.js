// Reads JSON that anybody may have pushed, and writes what a handler has made.

/** As in the kits of all languages. The engine's parser calls itself for each level, and a stack overflow is a crash. */
const MAX_DEPTH = 128;

class RawJson {
    constructor(text) {
        this.text = text;
    }
}

export const rawJson = (text) => new RawJson(text);

/** Throws where JSON cannot hold the value: a function, a cycle, a BigInt. */
export function toJson(value) {
    if (value instanceof RawJson) return value.text.toWellFormed();
    const text = JSON.stringify(value);
    if (text === undefined) throw new TypeError(`a ${typeof value} is no JSON value`);
    return text;
}

export function fromJson(text) {
    if (isDeep(text)) throw new SyntaxError(`nested more than ${MAX_DEPTH} levels deep`);
    return JSON.parse(text);
}

function isDeep(text) {
    const opened = (bracket) => text.split(bracket, MAX_DEPTH + 2).length - 1;
    // So few that they may all lie in one another: most payloads are looked at no further.
    if (opened("[") + opened("{") <= MAX_DEPTH) return false;
    const structure = /["[\]{}]/g;
    let depth = 0;
    while (structure.test(text)) {
        const char = text[structure.lastIndex - 1];
        if (char === '"') structure.lastIndex = endOfString(text, structure.lastIndex);
        else if (char === "]" || char === "}") depth -= 1;
        else if (++depth > MAX_DEPTH) return true;
    }
    return false;
}

/** The index after a string's closing quote. */
function endOfString(text, from) {
    for (;;) {
        const quote = text.indexOf('"', from);
        if (quote < 0) return text.length;
        let slashes = 0;
        while (text[quote - 1 - slashes] === "\\") slashes += 1;
        from = quote + 1;
        if (slashes % 2 === 0) return from;
    }
}
