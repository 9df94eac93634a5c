// Makes `kiln/web/vendor`: what of npm's packages the kit carries along, each in one file. The packages are pinned in
// `package.json`; a test holds the files to be what this makes of them. `node vendor.mjs` writes them.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const FILES = {
    streams: {
        from: ["web-streams-polyfill"],
        text: `export { ByteLengthQueuingStrategy, CountQueuingStrategy, ReadableByteStreamController,
            ReadableStream, ReadableStreamBYOBReader, ReadableStreamBYOBRequest, ReadableStreamDefaultController,
            ReadableStreamDefaultReader, TransformStream, TransformStreamDefaultController, WritableStream,
            WritableStreamDefaultController, WritableStreamDefaultWriter } from "web-streams-polyfill";`,
    },
    // The parser alone: its classes drag a table of all names of the world along, 230 kB, of which \`domain.js\` has what
    // the engine's own tables tell.
    url: {
        from: ["whatwg-url"],
        text: `export { basicURLParse, cannotHaveAUsernamePasswordPort, hasAnOpaquePath, serializeHost, serializePath,
            serializeURL, serializeURLOrigin, setThePassword, setTheUsername } from "whatwg-url/lib/url-state-machine.js";
            export { parseUrlencodedString, serializeUrlencoded } from "whatwg-url/lib/urlencoded.js";`,
        instead: {
            tr46: 'export { toASCII } from "../domain.js";',
            "@exodus/bytes/encoding.js": "",
            "@exodus/bytes/whatwg.js": 'export { percentEncodeAfterEncoding } from "../domain.js";',
            "./encoding": 'export { encode as utf8Encode, utf8 as utf8DecodeWithoutBOM } from "../text.js";',
        },
    },
    hashes: {
        from: ["@noble/hashes"],
        text: `export { sha1 } from "@noble/hashes/legacy.js"; export { sha256, sha384, sha512 } from "@noble/hashes/sha2.js";
            export { hmac } from "@noble/hashes/hmac.js"; export { hkdf } from "@noble/hashes/hkdf.js";
            export { pbkdf2 } from "@noble/hashes/pbkdf2.js";`,
    },
};

/** A source map of the first line alone: places in these files would take half of each bundle's, and help no author. */
const NO_MAP = `//# sourceMappingURL=data:application/json,${encodeURIComponent('{"version":3,"sources":["kiln"],"mappings":"AAAA"}')}\n`;

const folder = join(import.meta.dirname, "kiln/web/vendor");

/** What is vendored, by its file's name. */
export async function vendored() {
    const made = Object.entries(FILES).map(async ([name, file]) => [`${name}.js`, await bundled(file)]);
    return Object.fromEntries(await Promise.all(made));
}

async function bundled({ from, text, instead = {} }) {
    const { outputFiles } = await build({
        stdin: { contents: text, resolveDir: import.meta.dirname },
        bundle: true,
        format: "esm",
        target: "es2023",
        charset: "utf8",
        // Functions keep their text, so what is long takes memory.
        minify: true,
        legalComments: "none",
        write: false,
        plugins: [{ name: "instead", setup: (build) => put(build, instead) }],
    });
    return from.map(licence).join("") + outputFiles[0].text + NO_MAP;
}

/** Puts other text in the place of modules. */
function put(build, instead) {
    build.onResolve({ filter: /.*/ }, ({ path }) => {
        if (path.startsWith("../")) return { path, external: true };
        return path in instead ? { path, namespace: "instead" } : undefined;
    });
    build.onLoad({ filter: /.*/, namespace: "instead" }, ({ path }) => ({ contents: instead[path] }));
}

function licence(name) {
    const dir = join(import.meta.dirname, "node_modules", name);
    const { version } = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"));
    const file = ["LICENSE", "LICENSE.txt"].map((file) => join(dir, file)).find((file) => existsSync(file));
    const lines = readFileSync(file, "utf8").trim().split("\n");
    const head = `${name} ${version}, bundled by tests/handlers/js/vendor.mjs`;
    return [head, "", ...lines].map((line) => `// ${line}`.trimEnd()).join("\n") + "\n\n";
}

if (process.argv[1] === import.meta.filename) {
    mkdirSync(folder, { recursive: true });
    for (const [name, text] of Object.entries(await vendored())) writeFileSync(join(folder, name), text);
}
