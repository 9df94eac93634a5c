// `fetch`, over the interface `kiln:http/client`, which knows neither redirects nor relative URLs.

import { AbortSignal } from "./events.js";
import { Body, bytesOfChunk, copy, extract, give, take } from "./body.js";
import { Exchange, failed, HttpError } from "./exchange.js";
import { fieldsOf, Headers } from "./headers.js";
import { bytesOf, latin1, utf8 } from "./text.js";
import { URL } from "./url.js";

const MAX_REDIRECTS = 20;
/** What describes a body, and goes when a redirect drops it. */
const OF_BODY = ["content-encoding", "content-language", "content-location", "content-type", "content-length"];
/** What another origin must not learn. */
const OF_ORIGIN = ["authorization", "proxy-authorization", "cookie", "host"];
const NO_BODY = [101, 103, 204, 205, 304];
const REDIRECTS = [301, 302, 303, 307, 308];

export class Request extends Body {
    #url;
    #method;
    #headers;
    #redirect;
    #signal;
    #options;

    constructor(input, init) {
        super();
        init ??= {};
        const from = input instanceof Request ? input : undefined;
        this.#url = from ? from.#url : new URL(input);
        if (this.#url.username || this.#url.password) throw new TypeError("a URL with a user's name cannot be requested");
        this.#method = method(init.method ?? from?.method ?? "GET");
        this.#headers = new Headers(init.headers ?? (from && fieldsOf(from.#headers)));
        this.#redirect = init.redirect ?? from?.redirect ?? "follow";
        if (!["follow", "error", "manual"].includes(this.#redirect)) throw new TypeError(`redirect: ${this.#redirect}`);
        this.#signal = AbortSignal.any([init.signal === undefined ? from?.signal : init.signal].filter(Boolean));
        this.#options = init;
        const hasBody = init.body !== undefined && init.body !== null;
        if (hasBody && ["GET", "HEAD"].includes(this.#method)) throw new TypeError("Request with GET/HEAD method cannot have body");
        const { type, ...body } = hasBody ? extract(init.body) : from ? take(from) : {};
        if (type && !this.#headers.has("content-type")) this.#headers.set("content-type", type);
        give(this, body);
    }

    get url() {
        return this.#url.href;
    }

    get method() {
        return this.#method;
    }

    get headers() {
        return this.#headers;
    }

    get redirect() {
        return this.#redirect;
    }

    get signal() {
        return this.#signal;
    }

    get duplex() {
        return "half";
    }

    get cache() {
        return this.#options.cache ?? "default";
    }

    get credentials() {
        return this.#options.credentials ?? "same-origin";
    }

    get mode() {
        return this.#options.mode ?? "cors";
    }

    get referrer() {
        return "about:client";
    }

    get referrerPolicy() {
        return this.#options.referrerPolicy ?? "";
    }

    get integrity() {
        return this.#options.integrity ?? "";
    }

    get keepalive() {
        return Boolean(this.#options.keepalive);
    }

    clone() {
        const body = copy(this);
        const request = new Request(this.#url.href, { ...this.#options, method: this.#method, body: undefined });
        request.#headers = new Headers(fieldsOf(this.#headers));
        request.#redirect = this.#redirect;
        request.#signal = AbortSignal.any([this.#signal]);
        give(request, body);
        return request;
    }

    get [Symbol.toStringTag]() {
        return "Request";
    }
}

function method(name) {
    const text = String(name);
    if (!/^[!#$%&'*+\-.^_`|~\w]+$/.test(text)) throw new TypeError(`${JSON.stringify(text)} is no method`);
    const upper = text.toUpperCase();
    if (["CONNECT", "TRACE", "TRACK"].includes(upper)) throw new TypeError(`the method ${upper} is not allowed`);
    return ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"].includes(upper) ? upper : text;
}

export class Response extends Body {
    #status;
    #statusText;
    #headers;
    #url = "";
    #type = "default";
    #redirected = false;

    constructor(body = null, { status = 200, statusText = "", headers } = {}) {
        super();
        if (!(status >= 200 && status <= 599)) throw new RangeError(`the status ${status} is none of 200 to 599`);
        this.#status = Math.trunc(status);
        this.#statusText = String(statusText);
        this.#headers = new Headers(headers);
        if (body !== null && NO_BODY.includes(this.#status)) throw new TypeError(`a response of ${status} has no body`);
        const { type, ...given } = extract(body);
        if (type && !this.#headers.has("content-type")) this.#headers.set("content-type", type);
        give(this, given);
    }

    /** An answer that has come. */
    static _of({ status, headers }, { url, redirected, body }) {
        const response = new Response();
        response.#status = status;
        for (const [name, value] of headers) response.#headers.append(name, latin1(value));
        response.#url = url;
        response.#type = "basic";
        response.#redirected = redirected;
        give(response, body);
        return response;
    }

    static error() {
        const response = new Response();
        response.#type = "error";
        response.#status = 0;
        return response;
    }

    static json(value, init = {}) {
        const text = JSON.stringify(value);
        if (text === undefined) throw new TypeError("the value is none that JSON holds");
        const response = new Response(text, init);
        if (!new Headers(init.headers).has("content-type")) response.#headers.set("content-type", "application/json");
        return response;
    }

    static redirect(url, status = 302) {
        if (!REDIRECTS.includes(status)) throw new RangeError(`the status ${status} is no redirect`);
        return new Response(null, { status, headers: { location: new URL(url).href } });
    }

    get status() {
        return this.#status;
    }

    get statusText() {
        return this.#statusText;
    }

    get ok() {
        return this.#status >= 200 && this.#status < 300;
    }

    get headers() {
        return this.#headers;
    }

    get url() {
        return this.#url;
    }

    get redirected() {
        return this.#redirected;
    }

    get type() {
        return this.#type;
    }

    clone() {
        const body = copy(this);
        const response = new Response();
        response.#status = this.#status;
        response.#statusText = this.#statusText;
        response.#headers = new Headers(fieldsOf(this.#headers));
        response.#url = this.#url;
        response.#type = this.#type;
        response.#redirected = this.#redirected;
        give(response, body);
        return response;
    }

    get [Symbol.toStringTag]() {
        return "Response";
    }
}

export async function fetch(input, init) {
    const request = new Request(input, init);
    request.signal.throwIfAborted();
    let { method, signal } = request;
    let url = new URL(request.url);
    let fields = fieldsOf(request.headers);
    let body = take(request);
    for (let redirects = 0; ; redirects++) {
        const exchange = await Exchange.start(sent(method, url, fields, body), url.origin, signal);
        const source = body.bytes ? isLarge(body) && [body.bytes] : body.stream;
        const upload = source ? pump(source, exchange) : undefined;
        // What goes wrong there comes first; what goes right has no part in it.
        const head = await Promise.race([exchange.head(), ...(upload ? [upload] : [])]);
        const location = REDIRECTS.includes(head.status) && head.headers.find(([name]) => name === "location")?.[1];
        if (!location || request.redirect === "manual") {
            const isEmpty = method === "HEAD" || NO_BODY.includes(head.status);
            if (isEmpty) exchange.close();
            const body = isEmpty ? {} : { exchange };
            return Response._of(head, { url: url.href.replace(/#.*/, ""), redirected: redirects > 0, body });
        }
        exchange.close();
        if (request.redirect === "error") throw stopped("the server answered with a redirect");
        if (redirects === MAX_REDIRECTS) throw stopped(`more than ${MAX_REDIRECTS} redirects`);
        const next = target(utf8(location), url);
        if (dropsBody(head.status, method)) {
            method = "GET";
            body = {};
            fields = without(fields, OF_BODY);
        } else if (upload && !body.bytes) throw stopped("a redirect of a request whose body is a stream, which is sent once");
        if (next.origin !== url.origin) fields = without(fields, OF_ORIGIN);
        url = next;
    }
}

const stopped = (message) => failed(new HttpError({ kind: "redirect", message }));
const without = (fields, names) => fields.filter(([name]) => !names.includes(name));

function target(location, from) {
    const url = URL.parse(location, from.href);
    if (!url || !/^https?:$/.test(url.protocol)) throw stopped(`a redirect to ${location}`);
    if (!url.hash) url.hash = from.hash;
    return url;
}

function dropsBody(status, method) {
    if (status === 303) return method !== "GET" && method !== "HEAD";
    return (status === 301 || status === 302) && method === "POST";
}

/** A request as the host takes it. */
function sent(method, url, fields, { bytes, stream }) {
    if (!/^https?:$/.test(url.protocol)) throw new TypeError(`fetch knows http and https, not ${url.protocol}`);
    const has = (name) => fields.some(([there]) => there === name);
    const added = [["accept", "*/*"], ["user-agent", "kiln"]].filter(([name]) => !has(name));
    if (isLarge({ bytes })) {
        fields = without(fields, ["content-length"]);
        added.push(["content-length", String(bytes.length)]);
    }
    return {
        method,
        url: url.href,
        headers: [...fields, ...added].map(([name, value]) => [name, bytesOf(value)]),
        body: bodySent(method, bytes, stream),
    };
}

function bodySent(method, bytes, stream) {
    if (bytes && !isLarge({ bytes })) return { tag: "whole", val: bytes };
    if (bytes || stream) return { tag: "streamed" };
    return ["POST", "PUT", "PATCH"].includes(method) ? { tag: "whole", val: new Uint8Array() } : { tag: "none" };
}

/** Whether a body is handed over piece by piece though all of it is there: one call takes no more (`hostcall_bytes`). */
const isLarge = ({ bytes }) => bytes?.length > 1 << 20;

/** Sends a stream; never resolves, but rejects where the stream does. */
function pump(stream, exchange) {
    return new Promise((_, reject) => {
        const send = async () => {
            for await (const chunk of stream) {
                // Nobody listens any more: leaving the loop cancels the stream.
                if (exchange.isClosed) return;
                await exchange.write(bytesOfChunk(chunk));
            }
            exchange.finish();
        };
        send().catch((err) => {
            exchange.close(err);
            reject(err);
        });
    });
}
