// Stacks in terms of the author's files. `kiln build` leaves the bundle's source map in a global; it is read only once
// something has gone wrong.

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** A stack with positions in the bundle replaced by those in the source, and without frames that are none of its. */
export function readable(stack) {
    if (!globalThis.kilnSourceMap) return stack;
    const { mappings, sources } = JSON.parse(globalThis.kilnSourceMap);
    const lines = alike(stack).split("\n").map((text) => {
        const [, place, line, column] = text.match(/^ {4}at .*?([^\s(]+:(\d+):(\d+))\)?$/) ?? [];
        return { text, place, line: line - 1, column: column - 1 };
    });
    locate(mappings, lines);
    return lines.flatMap(({ text, place, found }) => {
        if (!place) return text;
        const file = found && sources[found.source].replace(/^(\.\.\/)+/, "");
        const isOwn = file && !file.startsWith("kiln/");
        return isOwn ? text.replace(place, `${file}:${found.line + 1}:${found.column + 1}`) : [];
    }).join("\n");
}

/** A stack as most engines write it. In SpiderMonkey a frame is `name@place`; those of its own code around the bundle go. */
function alike(stack) {
    const frame = (_, name, place) => (place.includes("bundle.js") ? `    at ${name ? `${name} (${place})` : place}` : "");
    return stack.replace(/^([^@\n]*)@(\S+:\d+:\d+)$/gm, frame).replace(/\n{2,}/g, "\n");
}

/**
 * Gives each place the last mapping of its line that does not begin after it.
 *
 * Mappings are separated by commas, lines by semicolons. Each is up to five numbers, told as the difference to the one
 * before: the column in the bundle, the source, the line and the column in it, and a name. A number is made of digits
 * of base 64, each of five bits, the least first, and a sixth that says that more follow; its lowest bit is the sign.
 */
function locate(mappings, places) {
    const now = [0, 0, 0, 0, 0];
    let line = 0;
    let wanted = places.filter((place) => place.line === 0);
    let field = 0;
    let number = 0;
    let shift = 0;
    for (const char of `${mappings};`) {
        if (char === "," || char === ";") {
            for (const place of wanted) {
                if (field > 1 && now[0] <= place.column) place.found = { source: now[1], line: now[2], column: now[3] };
            }
            field = 0;
            if (char === ",") continue;
            now[0] = 0;
            line += 1;
            wanted = places.filter((place) => place.line === line);
            continue;
        }
        const digit = DIGITS.indexOf(char);
        number += (digit & 31) << shift;
        shift += 5;
        if (digit & 32) continue;
        now[field] += number & 1 ? -(number >> 1) : number >> 1;
        field += 1;
        number = shift = 0;
    }
}
