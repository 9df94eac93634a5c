// `crypto.subtle`: digests, HMAC, and the keys that are derived by them, by @noble/hashes.

import { hkdf, hmac, pbkdf2, sha1, sha256, sha384, sha512 } from "./vendor/hashes.js";
import { view } from "./text.js";

const HASHES = { "SHA-1": sha1, "SHA-256": sha256, "SHA-384": sha384, "SHA-512": sha512 };
/** What keys are for, by algorithm. */
const USES = { HMAC: ["sign", "verify"], HKDF: ["deriveKey", "deriveBits"], PBKDF2: ["deriveKey", "deriveBits"] };

const refusal = (message, name) => new DOMException(message, name);

/** An algorithm by its name, or by an object that has one. */
function named(algorithm) {
    const given = typeof algorithm === "object" && algorithm ? algorithm : { name: algorithm };
    return { ...given, name: String(given.name).toUpperCase() };
}

function hashOf(hash) {
    const { name } = named(hash);
    if (!(name in HASHES)) throw refusal(`the hash ${name} is not supported`, "NotSupportedError");
    return { name, hash: HASHES[name] };
}

/** For `subtle`, which alone may read a key. */
const SECRETS = new WeakMap();

export class CryptoKey {
    type = "secret";

    constructor(bytes, algorithm, extractable, usages) {
        if (!(bytes instanceof Uint8Array)) throw new TypeError("Illegal constructor");
        SECRETS.set(this, bytes);
        this.algorithm = algorithm;
        this.extractable = Boolean(extractable);
        this.usages = [...usages];
    }

    get [Symbol.toStringTag]() {
        return "CryptoKey";
    }
}

function secret(key, name, usage) {
    if (!SECRETS.has(key)) throw new TypeError("expected a CryptoKey");
    if (key.algorithm.name !== name) throw refusal(`the key is one for ${key.algorithm.name}`, "InvalidAccessError");
    if (!key.usages.includes(usage)) throw refusal(`the key is not for ${usage}`, "InvalidAccessError");
    return SECRETS.get(key);
}

function makeKey(bytes, algorithm, extractable, usages) {
    const { name, ...given } = named(algorithm);
    if (!(name in USES)) throw refusal(`the algorithm ${name} is not supported`, "NotSupportedError");
    const wrong = usages.find((usage) => !USES[name].includes(usage));
    if (wrong) throw refusal(`a key for ${name} cannot be used for ${wrong}`, "SyntaxError");
    if (usages.length === 0) throw refusal("a key has to be of some use", "SyntaxError");
    if (name !== "HMAC") {
        if (extractable) throw refusal(`a key for ${name} cannot be extractable`, "SyntaxError");
        return new CryptoKey(bytes, { name }, false, usages);
    }
    if (bytes.length === 0) throw refusal("the key is empty", "DataError");
    const hash = { name: hashOf(given.hash).name };
    return new CryptoKey(bytes, { name, hash, length: bytes.length * 8 }, extractable, usages);
}

function sign(key, data, usage) {
    const bytes = secret(key, "HMAC", usage);
    return hmac(hashOf(key.algorithm.hash).hash, bytes, view(data));
}

function derive({ name, hash, salt, info, iterations }, key, bits) {
    const from = secret(key, name, "deriveBits");
    if (bits === null || bits % 8) throw refusal("the length is no multiple of 8", "OperationError");
    const { hash: by } = hashOf(hash);
    if (name === "HKDF") return hkdf(by, from, view(salt), view(info), bits / 8);
    return pbkdf2(by, from, view(salt), { c: iterations, dkLen: bits / 8 });
}

/** The same bytes in a buffer of their own. */
const buffer = (bytes) => bytes.slice().buffer;

const BASE64URL = { alphabet: "base64url", omitPadding: true };

export const subtle = {
    async digest(algorithm, data) {
        return buffer(hashOf(algorithm).hash(view(data)));
    },

    async importKey(format, data, algorithm, extractable, usages) {
        if (format === "raw") return makeKey(view(data).slice(), algorithm, extractable, usages);
        if (format !== "jwk") throw refusal(`keys in the format ${format} are not supported`, "NotSupportedError");
        if (data?.kty !== "oct") throw refusal("the key is no secret one", "DataError");
        return makeKey(Uint8Array.fromBase64(data.k, { alphabet: "base64url" }), algorithm, extractable, usages);
    },

    async exportKey(format, key) {
        const bytes = SECRETS.get(key);
        if (!bytes) throw new TypeError("expected a CryptoKey");
        if (!key.extractable) throw refusal("the key is not extractable", "InvalidAccessError");
        if (format === "raw") return buffer(bytes);
        if (format !== "jwk") throw refusal(`keys in the format ${format} are not supported`, "NotSupportedError");
        const alg = `HS${key.algorithm.hash.name.slice(4)}`;
        return { kty: "oct", k: bytes.toBase64(BASE64URL), alg, ext: true, key_ops: [...key.usages] };
    },

    async generateKey(algorithm, extractable, usages) {
        const { name, hash, length } = named(algorithm);
        if (name !== "HMAC") throw refusal(`keys for ${name} cannot be made`, "NotSupportedError");
        const bytes = crypto.getRandomValues(new Uint8Array(length ? Math.ceil(length / 8) : hashOf(hash).hash.blockLen));
        return makeKey(bytes, algorithm, extractable, usages);
    },

    async sign(_algorithm, key, data) {
        return buffer(sign(key, data, "sign"));
    },

    async verify(_algorithm, key, signature, data) {
        const [wanted, given] = [sign(key, data, "verify"), view(signature)];
        // Takes as long for a wrong signature as for the right one.
        let different = wanted.length ^ given.length;
        for (const [i, byte] of wanted.entries()) different |= byte ^ given[i];
        return different === 0;
    },

    async deriveBits(algorithm, key, bits) {
        return buffer(derive(named(algorithm), key, bits));
    },
};
