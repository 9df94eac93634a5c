// Cases of what the web's APIs have to do, from `tests/data/web`: each has what is `wanted`, null for an error.

/** Those that come out otherwise, with what they come out as. */
export async function failed(kind, cases) {
    const wrong = [];
    for (const one of cases) {
        const got = await outcome(kind, one);
        if (JSON.stringify(got) !== JSON.stringify(one.wanted)) wrong.push({ ...one, got });
    }
    return wrong;
}

async function outcome(kind, one) {
    try {
        return await KINDS[kind](one);
    } catch (err) {
        return err instanceof TypeError || err instanceof RangeError ? null : String(err);
    }
}

const bytesOf = (hex) => Uint8Array.fromHex(hex);
const hexOf = (buffer) => new Uint8Array(buffer).toHex();
/** What a URL has of the parts that are asked for. */
const parts = (url, wanted) => Object.fromEntries(Object.keys(wanted ?? {}).map((key) => [key, url[key]]));

const KINDS = {
    url: ({ input, base, wanted }) => parts(new URL(input, base), wanted),

    setters({ href, property, value, wanted }) {
        const url = new URL(href);
        url[property] = value;
        return parts(url, wanted);
    },

    /** Decoded at once and byte by byte, which has to be the same. */
    text({ label, hex, fatal }) {
        const bytes = bytesOf(hex);
        const decoder = new TextDecoder(label, { fatal });
        const whole = decoder.decode(bytes);
        let pieces = "";
        for (const byte of bytes) pieces += decoder.decode(Uint8Array.of(byte), { stream: true });
        pieces += decoder.decode();
        return pieces === whole ? whole : { whole, pieces };
    },

    params({ init }) {
        const params = new URLSearchParams(init);
        const again = new URLSearchParams(params.toString());
        return `${again}` === `${params}` ? [...params] : `${params}`;
    },

    headers: ({ pairs }) => [...new Headers(pairs)],

    async others({ do: what, hash, text, key, salt, info, iterations, bits }) {
        const data = new TextEncoder().encode(text);
        if (what === "digest") return hexOf(await crypto.subtle.digest(hash, data));
        if (what === "hmac") {
            const secret = await crypto.subtle.importKey("raw", bytesOf(key), { name: "HMAC", hash }, false, ["sign", "verify"]);
            const signature = await crypto.subtle.sign("HMAC", secret, data);
            const [right, wrong] = [signature, signature.slice(1)];
            const isRight = await crypto.subtle.verify("HMAC", secret, right, data);
            return isRight && !(await crypto.subtle.verify("HMAC", secret, wrong, data)) ? hexOf(signature) : isRight;
        }
        const name = what.toUpperCase();
        const secret = await crypto.subtle.importKey("raw", bytesOf(key), name, false, ["deriveBits"]);
        const given = { name, hash, salt: bytesOf(salt), info: bytesOf(info ?? ""), iterations };
        return hexOf(await crypto.subtle.deriveBits(given, secret, bits));
    },
};
