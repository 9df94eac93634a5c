// `URL` and `URLSearchParams`, over the parser of whatwg-url.

import * as parser from "./vendor/url.js";

/** For `URL`, which alone may tie parameters to itself. */
let tie;

export class URLSearchParams {
    #list = [];
    /** Tells the URL, whose query this is, of a change. */
    #changed = () => {};

    static {
        tie = (params, query, changed) => {
            params.#list = parser.parseUrlencodedString(query);
            params.#changed = changed;
        };
    }

    constructor(init = "") {
        if (init === null || (typeof init !== "object" && typeof init !== "function")) {
            this.#list = parser.parseUrlencodedString(String(init).toWellFormed().replace(/^\?/, ""));
        } else if (init[Symbol.iterator]) {
            for (const pair of init) this.#list.push(pairOf(pair));
        } else {
            for (const name of Reflect.ownKeys(init)) {
                if (Object.getOwnPropertyDescriptor(init, name)?.enumerable) this.#put(text(name), text(init[name]));
            }
        }
    }

    #put(name, value) {
        const there = this.#list.find((pair) => pair[0] === name);
        if (there) there[1] = value;
        else this.#list.push([name, value]);
    }

    get size() {
        return this.#list.length;
    }

    append(name, value) {
        this.#list.push([text(name), text(value)]);
        this.#changed();
    }

    delete(name, value) {
        this.#list = this.#list.filter((pair) => !matches(pair, name, value));
        this.#changed();
    }

    get(name) {
        return this.#list.find((pair) => matches(pair, name))?.[1] ?? null;
    }

    getAll(name) {
        return this.#list.filter((pair) => matches(pair, name)).map((pair) => pair[1]);
    }

    has(name, value) {
        return this.#list.some((pair) => matches(pair, name, value));
    }

    set(name, value) {
        const first = this.#list.find((pair) => matches(pair, name));
        this.#list = this.#list.filter((pair) => pair === first || !matches(pair, name));
        this.#put(text(name), text(value));
        this.#changed();
    }

    sort() {
        this.#list.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
        this.#changed();
    }

    forEach(run, self) {
        for (const [name, value] of this) run.call(self, value, name, this);
    }

    *entries() {
        for (let at = 0; at < this.#list.length; at++) yield [...this.#list[at]];
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

    toString() {
        return parser.serializeUrlencoded(this.#list);
    }

    get [Symbol.toStringTag]() {
        return "URLSearchParams";
    }
}

const text = (value) => String(value).toWellFormed();

function pairOf(value) {
    const pair = [...value].map(text);
    if (pair.length !== 2) throw new TypeError("each of the parameters is a pair of a name and a value");
    return pair;
}

const matches = (pair, name, value) => pair[0] === text(name) && (value === undefined || pair[1] === text(value));

export class URL {
    #url;
    #params = new URLSearchParams();

    constructor(input, base) {
        const from = base === undefined ? null : parsed(base);
        this.#take(parsed(input, from));
    }

    static canParse(input, base) {
        return URL.parse(input, base) !== null;
    }

    static parse(input, base) {
        try {
            return new URL(input, base);
        } catch {
            return null;
        }
    }

    #take(url) {
        this.#url = url;
        this.#tie();
    }

    #tie() {
        tie(this.#params, this.#url.query ?? "", () => {
            this.#url.query = this.#params.toString() || null;
        });
    }

    /** Has the parser read a part anew, from one of its states on. */
    #part(input, stateOverride) {
        parser.basicURLParse(text(input), { url: this.#url, stateOverride });
    }

    get href() {
        return parser.serializeURL(this.#url);
    }

    set href(value) {
        this.#take(parsed(value));
    }

    get origin() {
        return parser.serializeURLOrigin(this.#url);
    }

    get protocol() {
        return `${this.#url.scheme}:`;
    }

    set protocol(value) {
        this.#part(`${text(value)}:`, "scheme start");
    }

    get username() {
        return this.#url.username;
    }

    set username(value) {
        if (!parser.cannotHaveAUsernamePasswordPort(this.#url)) parser.setTheUsername(this.#url, text(value));
    }

    get password() {
        return this.#url.password;
    }

    set password(value) {
        if (!parser.cannotHaveAUsernamePasswordPort(this.#url)) parser.setThePassword(this.#url, text(value));
    }

    get host() {
        return this.hostname + (this.#url.port === null ? "" : `:${this.#url.port}`);
    }

    set host(value) {
        if (!parser.hasAnOpaquePath(this.#url)) this.#part(value, "host");
    }

    get hostname() {
        return this.#url.host === null ? "" : parser.serializeHost(this.#url.host);
    }

    set hostname(value) {
        if (!parser.hasAnOpaquePath(this.#url)) this.#part(value, "hostname");
    }

    get port() {
        return this.#url.port === null ? "" : String(this.#url.port);
    }

    set port(value) {
        if (parser.cannotHaveAUsernamePasswordPort(this.#url)) return;
        if (text(value) === "") this.#url.port = null;
        else this.#part(value, "port");
    }

    get pathname() {
        return parser.serializePath(this.#url);
    }

    set pathname(value) {
        if (parser.hasAnOpaquePath(this.#url)) return;
        this.#url.path = [];
        this.#part(value, "path start");
    }

    get search() {
        return this.#url.query ? `?${this.#url.query}` : "";
    }

    set search(value) {
        const query = text(value);
        this.#url.query = query === "" ? null : "";
        if (query !== "") this.#part(query.replace(/^\?/, ""), "query");
        this.#tie();
    }

    get searchParams() {
        return this.#params;
    }

    get hash() {
        return this.#url.fragment ? `#${this.#url.fragment}` : "";
    }

    set hash(value) {
        const fragment = text(value);
        this.#url.fragment = fragment === "" ? null : "";
        if (fragment !== "") this.#part(fragment.replace(/^#/, ""), "fragment");
    }

    toString() {
        return this.href;
    }

    toJSON() {
        return this.href;
    }

    get [Symbol.toStringTag]() {
        return "URL";
    }
}

function parsed(input, baseURL = null) {
    const url = parser.basicURLParse(text(input), { baseURL });
    if (url === null) throw new TypeError(`Invalid URL: ${input}`);
    return url;
}
