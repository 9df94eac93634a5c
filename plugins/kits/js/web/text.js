// Text in bytes. The engine has no function for it, but some that come near: each piece of text takes a few calls of
// those, not one for each character.

/** A string with a character for each byte. */
export const latin1 = (bytes) => atob(bytes.toBase64());

/** The bytes of such a string. */
export const bytesOf = (text) => Uint8Array.fromBase64(btoa(text));

export function encode(text) {
    // Writes bytes of other than ASCII as %XX.
    return bytesOf(unescape(encodeURIComponent(String(text).toWellFormed())));
}

export class TextEncoder {
    get encoding() {
        return "utf-8";
    }

    encode(text = "") {
        return encode(text);
    }

    encodeInto(text, into) {
        let read = 0;
        let written = 0;
        for (const char of String(text).toWellFormed()) {
            const bytes = encode(char);
            if (written + bytes.length > into.length) break;
            into.set(bytes, written);
            written += bytes.length;
            read += char.length;
        }
        return { read, written };
    }
}

const LABELS = {
    "utf-8": ["utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8"],
    "utf-16le": ["utf-16le", "utf-16", "ucs-2", "csunicode", "iso-10646-ucs-2", "unicode", "unicodefeff"],
    "utf-16be": ["utf-16be", "unicodefffe"],
    "windows-1252": ["windows-1252", "ansi_x3.4-1968", "ascii", "cp1252", "cp819", "csisolatin1", "ibm819", "iso-8859-1",
        "iso-ir-100", "iso8859-1", "iso88591", "iso_8859-1", "iso_8859-1:1987", "l1", "latin1", "us-ascii", "x-cp1252"],
};

/** What windows-1252 has where latin1 has control characters. */
const HIGH = "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ";

export class TextDecoder {
    #encoding;
    #fatal;
    #ignoreBOM;
    /** Bytes of a character whose others are still to come. */
    #rest = new Uint8Array();
    /** Whether a byte order mark may still come. */
    #isStart = true;

    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
        const wanted = String(label).trim().toLowerCase();
        this.#encoding = Object.keys(LABELS).find((name) => LABELS[name].includes(wanted));
        if (!this.#encoding) throw new RangeError(`the encoding ${label} is not supported`);
        this.#fatal = Boolean(fatal);
        this.#ignoreBOM = Boolean(ignoreBOM);
    }

    get encoding() {
        return this.#encoding;
    }

    get fatal() {
        return this.#fatal;
    }

    get ignoreBOM() {
        return this.#ignoreBOM;
    }

    decode(input, { stream = false } = {}) {
        let bytes = join([this.#rest, view(input)]);
        this.#rest = new Uint8Array();
        if (stream) {
            const whole = bytes.length - unfinished(bytes, this.#encoding);
            this.#rest = bytes.slice(whole);
            bytes = bytes.subarray(0, whole);
        }
        let text;
        try {
            text = this.#text(bytes);
        } catch (err) {
            this.#rest = new Uint8Array();
            this.#isStart = true;
            throw err;
        }
        if (text !== "" && this.#isStart) {
            if (!this.#ignoreBOM && text[0] === "\ufeff") text = text.slice(1);
            this.#isStart = false;
        }
        if (!stream) this.#isStart = true;
        return text;
    }

    #text(bytes) {
        if (this.#encoding === "utf-8") return utf8(bytes, this.#fatal);
        if (this.#encoding === "windows-1252") {
            return latin1(bytes).replace(/[\x80-\x9f]/g, (char) => HIGH[char.charCodeAt(0) - 0x80]);
        }
        return utf16(bytes, this.#encoding === "utf-16le", this.#fatal);
    }
}

/** The bytes of an `ArrayBuffer`, or of a view of one. */
export function view(input) {
    if (input === undefined) return new Uint8Array();
    if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
    if (input instanceof ArrayBuffer || input instanceof SharedArrayBuffer) return new Uint8Array(input);
    throw new TypeError("expected an ArrayBuffer or a view of one");
}

export function join(pieces) {
    const some = pieces.filter((piece) => piece.length > 0);
    if (some.length === 1) return some[0];
    const all = new Uint8Array(some.reduce((length, piece) => length + piece.length, 0));
    let at = 0;
    for (const piece of some) {
        all.set(piece, at);
        at += piece.length;
    }
    return all;
}

/** Text of UTF-8. */
export function utf8(bytes, fatal = false) {
    const escaped = latin1(bytes);
    if (!/[\x80-\xff]/.test(escaped)) return escaped;
    try {
        return decodeURIComponent(escape(escaped));
    } catch {
        if (fatal) throw new TypeError("the bytes are no UTF-8");
        return replaced(bytes);
    }
}

/** The same with U+FFFD for what is none: one for each longest part of what might have become a character. */
function replaced(bytes) {
    let text = "";
    for (let at = 0; at < bytes.length; ) {
        const { length, isWhole } = character(bytes, at);
        text += isWhole ? decodeURIComponent(escape(latin1(bytes.subarray(at, at + length)))) : "\ufffd";
        at += length;
    }
    return text;
}

/** How many bytes belong to the character that begins there, and whether it has all that it needs. */
function character(bytes, at) {
    const first = bytes[at];
    if (first < 0x80) return { length: 1, isWhole: true };
    const more = first >= 0xc2 && first <= 0xdf ? 1 : (first & 0xf0) === 0xe0 ? 2 : first >= 0xf0 && first <= 0xf4 ? 3 : 0;
    // Neither overlong, nor a surrogate, nor beyond U+10FFFF.
    let [low, high] = { 0xe0: [0xa0, 0xbf], 0xed: [0x80, 0x9f], 0xf0: [0x90, 0xbf], 0xf4: [0x80, 0x8f] }[first] ?? [0x80, 0xbf];
    for (let i = 1; i <= more; i++) {
        const byte = bytes[at + i];
        if (!(byte >= low && byte <= high)) return { length: i, isWhole: false, isCut: byte === undefined };
        [low, high] = [0x80, 0xbf];
    }
    return { length: more + 1, isWhole: more > 0 };
}

/** How many bytes at the end wait for others. */
function unfinished(bytes, encoding) {
    if (encoding === "windows-1252") return 0;
    if (encoding !== "utf-8") {
        const odd = bytes.length % 2;
        const high = bytes[bytes.length - odd - (encoding === "utf-16le" ? 1 : 2)];
        return odd + ((high & 0xfc) === 0xd8 ? 2 : 0);
    }
    for (let length = 1; length <= Math.min(3, bytes.length); length++) {
        const at = bytes.length - length;
        if (bytes[at] >= 0xc0) return character(bytes, at).isCut ? length : 0;
        if (bytes[at] < 0x80) return 0;
    }
    return 0;
}

function utf16(bytes, isLittle, fatal) {
    let text = "";
    const [low, high] = isLittle ? [0, 1] : [1, 0];
    for (let at = 0; at + 1 < bytes.length; at += 2) text += String.fromCharCode(bytes[at + low] | (bytes[at + high] << 8));
    if (bytes.length % 2) text += "\ud800";
    if (fatal && !text.isWellFormed()) throw new TypeError("the bytes are no UTF-16");
    return text.toWellFormed();
}
