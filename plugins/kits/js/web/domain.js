// What the parser of URLs asks about names of servers and about bytes, in place of `tr46` and `@exodus/bytes`.
//
// The engine's normalization stands in for the mapping table of UTS 46, which would be three times as large as all else.
// It tells a name's ASCII form; what rules for right-to-left scripts and joiners refuse beyond is left to the resolver.

import { encode } from "./text.js";

/** In hosts they count for nothing. */
const IGNORED = /[\u00ad\u034f\u180b-\u180d\u180f\u200b\u2060\u2064\ufe00-\ufe0f\ufeff]/g;
/** No character, or one that says nothing: surrogates, private use, what is unassigned or controls. */
const NO_LETTER = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Z}\u2ff0-\u2fff\ufffc\ufffd]/u;

/** A server's name, which is not of ASCII alone, in ASCII; null where it has none. */
export function toASCII(domain) {
    const labels = fold(domain.replace(IGNORED, "")).replaceAll("\u3002", ".").split(".").map(label);
    return labels.includes(null) ? null : labels.join(".");
}

const fold = (text) => text.normalize("NFKC").replaceAll("\u1e9e", "ß").toLowerCase().normalize("NFKC");

function label(text) {
    if (/^[\0-\x7f]*$/.test(text)) return text;
    if (NO_LETTER.test(text.replace(/[\u200c\u200d]/g, "")) || /^\p{M}/u.test(text)) return null;
    return `xn--${punycode(text)}`;
}

// RFC 3492.
const [BASE, T_MIN, T_MAX, SKEW, DAMP, FIRST_BIAS, FIRST_N] = [36, 1, 26, 38, 700, 72, 128];
const DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789";

const threshold = (k, bias) => Math.min(Math.max(k - bias, T_MIN), T_MAX);

function adapt(delta, count, isFirst) {
    let k = 0;
    delta = Math.floor(delta / (isFirst ? DAMP : 2));
    for (delta += Math.floor(delta / count); delta > ((BASE - T_MIN) * T_MAX) / 2; k += BASE) {
        delta = Math.floor(delta / (BASE - T_MIN));
    }
    return k + Math.floor(((BASE - T_MIN + 1) * delta) / (delta + SKEW));
}

function punycode(text) {
    const points = Array.from(text, (char) => char.codePointAt(0));
    const basic = points.filter((point) => point < FIRST_N);
    let output = String.fromCodePoint(...basic) + (basic.length > 0 ? "-" : "");
    let [n, delta, bias, done] = [FIRST_N, 0, FIRST_BIAS, basic.length];
    while (done < points.length) {
        const next = Math.min(...points.filter((point) => point >= n));
        delta += (next - n) * (done + 1);
        n = next;
        for (const point of points) {
            if (point < n) delta += 1;
            if (point !== n) continue;
            let rest = delta;
            for (let k = BASE; ; k += BASE) {
                const t = threshold(k, bias);
                if (rest < t) break;
                output += DIGITS[t + ((rest - t) % (BASE - t))];
                rest = Math.floor((rest - t) / (BASE - t));
            }
            output += DIGITS[rest];
            bias = adapt(delta, done + 1, done === basic.length);
            delta = 0;
            done += 1;
        }
        delta += 1;
        n += 1;
    }
    return output;
}

/** Text in bytes, with `%XX` for those of control characters, beyond ASCII, and of a set. Queries are UTF-8 here. */
export function percentEncodeAfterEncoding(_encoding, text, set, spaceAsPlus = false) {
    let output = "";
    for (const byte of encode(text)) {
        const char = String.fromCharCode(byte);
        if (spaceAsPlus && byte === 0x20) output += "+";
        else if (byte < 0x20 || byte > 0x7e || set.includes(char)) {
            output += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
        } else output += char;
    }
    return output;
}
