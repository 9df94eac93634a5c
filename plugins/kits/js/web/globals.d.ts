// The web's APIs, as far as `kiln/web` makes them: nothing that a handler would not find.

/** What a body is made of. */
type BodyInit =
    | string
    | ArrayBuffer
    | ArrayBufferView
    | Blob
    | FormData
    | URLSearchParams
    | ReadableStream<Uint8Array>
    | AsyncIterable<Uint8Array>;
type HeadersInit = Headers | Record<string, string> | Iterable<readonly [string, string]>;
type RequestInfo = Request | string;

interface RequestInit {
    method?: string;
    headers?: HeadersInit;
    /** A stream is sent as it comes; a redirect then fails, because it cannot be sent again. */
    body?: BodyInit | null;
    /** `manual` returns the redirect itself. No more than 20 are followed. */
    redirect?: "follow" | "error" | "manual";
    signal?: AbortSignal | null;
    /** May be said of a body that is a stream, and changes nothing. */
    duplex?: "half";
}

/**
 * Makes a request that the plugin's manifest grants. One that it does not grant ends the attempt as `denied`.
 *
 * Rejects with a `TypeError` whose `cause` is an `HttpError`. Where nobody catches it, the job is tried again.
 */
declare function fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;

/** Why a request failed: the `cause` of what `fetch` and the methods of a body reject with. */
interface HttpError extends Error {
    readonly name: "HttpError";
    readonly kind: "invalid" | "dns" | "connect" | "tls" | "timeout" | "network" | "too-large" | "too-many" | "redirect";
}

interface Body {
    readonly body: ReadableStream<Uint8Array<ArrayBuffer>> | null;
    readonly bodyUsed: boolean;
    arrayBuffer(): Promise<ArrayBuffer>;
    blob(): Promise<Blob>;
    bytes(): Promise<Uint8Array<ArrayBuffer>>;
    formData(): Promise<FormData>;
    json(): Promise<any>;
    text(): Promise<string>;
}

interface Request extends Body {
    readonly headers: Headers;
    readonly method: string;
    readonly redirect: "follow" | "error" | "manual";
    readonly signal: AbortSignal;
    readonly url: string;
    clone(): Request;
}
declare var Request: { prototype: Request; new (input: RequestInfo | URL, init?: RequestInit): Request };

interface ResponseInit {
    headers?: HeadersInit;
    status?: number;
    statusText?: string;
}

interface Response extends Body {
    readonly headers: Headers;
    readonly ok: boolean;
    readonly redirected: boolean;
    readonly status: number;
    readonly statusText: string;
    readonly type: "basic" | "default" | "error";
    readonly url: string;
    clone(): Response;
}
declare var Response: {
    prototype: Response;
    new (body?: BodyInit | null, init?: ResponseInit): Response;
    error(): Response;
    json(data: any, init?: ResponseInit): Response;
    redirect(url: string | URL, status?: number): Response;
};

interface Headers extends Iterable<[string, string]> {
    append(name: string, value: string): void;
    delete(name: string): void;
    get(name: string): string | null;
    getSetCookie(): string[];
    has(name: string): boolean;
    set(name: string, value: string): void;
    forEach(run: (value: string, name: string, headers: Headers) => void, self?: any): void;
    entries(): IterableIterator<[string, string]>;
    keys(): IterableIterator<string>;
    values(): IterableIterator<string>;
}
declare var Headers: { prototype: Headers; new (init?: HeadersInit): Headers };

interface URL {
    hash: string;
    host: string;
    hostname: string;
    href: string;
    readonly origin: string;
    password: string;
    pathname: string;
    port: string;
    protocol: string;
    search: string;
    readonly searchParams: URLSearchParams;
    username: string;
    toJSON(): string;
    toString(): string;
}
declare var URL: {
    prototype: URL;
    new (url: string | URL, base?: string | URL): URL;
    canParse(url: string | URL, base?: string | URL): boolean;
    parse(url: string | URL, base?: string | URL): URL | null;
};

interface URLSearchParams extends Iterable<[string, string]> {
    readonly size: number;
    append(name: string, value: string): void;
    delete(name: string, value?: string): void;
    get(name: string): string | null;
    getAll(name: string): string[];
    has(name: string, value?: string): boolean;
    set(name: string, value: string): void;
    sort(): void;
    toString(): string;
    forEach(run: (value: string, name: string, params: URLSearchParams) => void, self?: any): void;
    entries(): IterableIterator<[string, string]>;
    keys(): IterableIterator<string>;
    values(): IterableIterator<string>;
}
declare var URLSearchParams: {
    prototype: URLSearchParams;
    new (init?: Iterable<readonly [string, string]> | Record<string, string> | string | URLSearchParams): URLSearchParams;
};

interface TextEncoder {
    readonly encoding: "utf-8";
    encode(text?: string): Uint8Array<ArrayBuffer>;
    encodeInto(text: string, into: Uint8Array): { read: number; written: number };
}
declare var TextEncoder: { prototype: TextEncoder; new (): TextEncoder };

interface TextDecoderOptions {
    fatal?: boolean;
    ignoreBOM?: boolean;
}
interface TextDecoder {
    readonly encoding: string;
    readonly fatal: boolean;
    readonly ignoreBOM: boolean;
    decode(input?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string;
}
/** Knows UTF-8, UTF-16 and windows-1252 (which is what `latin1` means). */
declare var TextDecoder: { prototype: TextDecoder; new (label?: string, options?: TextDecoderOptions): TextDecoder };

interface EventInit {
    bubbles?: boolean;
    cancelable?: boolean;
    composed?: boolean;
}
interface Event {
    readonly bubbles: boolean;
    readonly cancelable: boolean;
    readonly composed: boolean;
    readonly currentTarget: EventTarget | null;
    readonly defaultPrevented: boolean;
    readonly target: EventTarget | null;
    readonly timeStamp: number;
    readonly type: string;
    preventDefault(): void;
    stopImmediatePropagation(): void;
    stopPropagation(): void;
}
declare var Event: { prototype: Event; new (type: string, init?: EventInit): Event };

interface CustomEvent<Detail = any> extends Event {
    readonly detail: Detail;
}
declare var CustomEvent: {
    prototype: CustomEvent;
    new <Detail>(type: string, init?: EventInit & { detail?: Detail }): CustomEvent<Detail>;
};

type EventListenerOrEventListenerObject = ((event: Event) => void) | { handleEvent(event: Event): void };
interface EventTarget {
    addEventListener(
        type: string,
        listener: EventListenerOrEventListenerObject | null,
        options?: boolean | { once?: boolean; signal?: AbortSignal },
    ): void;
    dispatchEvent(event: Event): boolean;
    removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: unknown): void;
}
declare var EventTarget: { prototype: EventTarget; new (): EventTarget };

interface AbortSignal extends EventTarget {
    readonly aborted: boolean;
    readonly reason: any;
    onabort: ((event: Event) => void) | null;
    throwIfAborted(): void;
}
declare var AbortSignal: {
    prototype: AbortSignal;
    abort(reason?: any): AbortSignal;
    any(signals: Iterable<AbortSignal>): AbortSignal;
    timeout(ms: number): AbortSignal;
};

interface AbortController {
    readonly signal: AbortSignal;
    abort(reason?: any): void;
}
declare var AbortController: { prototype: AbortController; new (): AbortController };

interface BlobPropertyBag {
    endings?: "native" | "transparent";
    type?: string;
}
type BlobPart = string | Blob | ArrayBuffer | ArrayBufferView;
interface Blob {
    readonly size: number;
    readonly type: string;
    arrayBuffer(): Promise<ArrayBuffer>;
    bytes(): Promise<Uint8Array<ArrayBuffer>>;
    slice(start?: number, end?: number, type?: string): Blob;
    stream(): ReadableStream<Uint8Array<ArrayBuffer>>;
    text(): Promise<string>;
}
declare var Blob: { prototype: Blob; new (parts?: Iterable<BlobPart>, options?: BlobPropertyBag): Blob };

interface File extends Blob {
    readonly lastModified: number;
    readonly name: string;
}
declare var File: {
    prototype: File;
    new (parts: Iterable<BlobPart>, name: string, options?: BlobPropertyBag & { lastModified?: number }): File;
};

type FormDataEntryValue = File | string;
interface FormData extends Iterable<[string, FormDataEntryValue]> {
    append(name: string, value: string | Blob, fileName?: string): void;
    delete(name: string): void;
    get(name: string): FormDataEntryValue | null;
    getAll(name: string): FormDataEntryValue[];
    has(name: string): boolean;
    set(name: string, value: string | Blob, fileName?: string): void;
    forEach(run: (value: FormDataEntryValue, name: string, form: FormData) => void, self?: any): void;
    entries(): IterableIterator<[string, FormDataEntryValue]>;
    keys(): IterableIterator<string>;
    values(): IterableIterator<FormDataEntryValue>;
}
declare var FormData: { prototype: FormData; new (): FormData };

declare function structuredClone<T>(value: T, options?: { transfer?: ArrayBuffer[] }): T;
declare function atob(text: string): string;
declare function btoa(text: string): string;

interface DOMException extends Error {
    readonly code: number;
}
declare var DOMException: { prototype: DOMException; new (message?: string, name?: string): DOMException };
