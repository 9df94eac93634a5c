// Node's `net`, as far as clients use it: sockets over connections of the host. `kiln build` gives it to whoever imports
// `net` or `node:net`. It is no stream of Node's: what a socket is piped into has to be written to.

import { Connection } from "../tcp.js";
import { encode, latin1, utf8 } from "../web/text.js";
import { EventEmitter } from "./events.js";

/** Bytes that wait to be sent from which on `write` asks for a pause. */
const HIGH_WATER_BYTES = 65_536;

export class Socket extends EventEmitter {
    connecting = false;
    destroyed = false;
    encrypted = false;
    bytesRead = 0;
    bytesWritten = 0;
    timeout = 0;
    #connection;
    #encoding;
    /** What is to be sent, with whom to tell; nothing: the end. */
    #unsent = [];
    #unsentBytes = 0;
    #isSending = false;
    #isReading = false;
    #flows = false;
    #hasEnded = false;
    #isFinished = false;
    #isOver = false;
    #timer;

    connect(...args) {
        const { options, listener } = asked(args);
        if (listener) this.once(this._connectEvent, listener);
        if (options.path !== undefined) return this.destroy(coded("ENOENT", `no sockets of files: ${options.path}`));
        this.connecting = true;
        this._open(options).catch((err) => this.destroy(err));
        return this;
    }

    /** The event that says that it can be used. */
    get _connectEvent() {
        return "connect";
    }

    async _open({ host = "localhost", port }) {
        const connection = new Connection(String(host), Number(port));
        this.#connection = connection;
        await connection.connected();
        if (this.destroyed) return;
        this._stands();
    }

    /** The connection stands: what waited for it goes on. */
    _stands() {
        this.connecting = false;
        this.#touch();
        this.emit("connect");
        this.emit("ready");
        this.#send();
        this.#read();
    }

    /** Gives the connection to another socket. */
    _detach() {
        const connection = this.#connection;
        this.#connection = undefined;
        return connection;
    }

    _attach(connection) {
        this.#connection = connection;
    }

    on(name, listener) {
        super.on(name, listener);
        if (name === "data") this.resume();
        return this;
    }

    once(name, listener) {
        super.once(name, listener);
        if (name === "data") this.resume();
        return this;
    }

    write(data, encoding, done) {
        if (typeof encoding === "function") [encoding, done] = [undefined, encoding];
        if (this.destroyed || this.#hasEnded) {
            const err = coded("EPIPE", "the socket was ended");
            queueMicrotask(() => (done ? done(err) : this.destroy(err)));
            return false;
        }
        const bytes = bytesOf(data, encoding);
        this.#unsent.push({ bytes, done });
        this.#unsentBytes += bytes.length;
        this.#send();
        return this.#unsentBytes < HIGH_WATER_BYTES;
    }

    end(data, encoding, done) {
        for (const given of [data, encoding]) if (typeof given === "function") done = given;
        if (data !== undefined && data !== null && typeof data !== "function") this.write(data, encoding);
        if (done) this.once("finish", done);
        if (!this.#hasEnded && !this.destroyed) {
            this.#hasEnded = true;
            this.#send();
            this.resume();
        }
        return this;
    }

    destroy(err) {
        if (this.destroyed) return this;
        this.destroyed = true;
        this.connecting = false;
        this.#connection?.close();
        clearTimeout(this.#timer);
        const left = this.#unsent.splice(0);
        queueMicrotask(() => {
            for (const { done } of left) done?.(err ?? coded("ECANCELED", "the socket was destroyed"));
            if (err) this.emit("error", err);
            this.emit("close", Boolean(err));
        });
        return this;
    }

    pause() {
        this.#flows = false;
        return this;
    }

    resume() {
        this.#flows = true;
        this.#read();
        return this;
    }

    pipe(into) {
        this.on("data", (data) => {
            if (into.write(data) !== false) return;
            this.pause();
            into.once("drain", () => this.resume());
        });
        this.once("end", () => into.end());
        return into;
    }

    setEncoding(encoding) {
        this.#encoding = encoding === "latin1" || encoding === "binary" ? latin1 : new TextDecoder(encoding);
        return this;
    }

    setTimeout(ms, listener) {
        this.timeout = ms;
        if (listener && ms > 0) this.once("timeout", listener);
        this.#touch();
        return this;
    }

    /** What the host gives its connections is not for the handler to say. */
    setNoDelay() {
        return this;
    }

    setKeepAlive() {
        return this;
    }

    ref() {
        return this;
    }

    unref() {
        return this;
    }

    cork() {}

    uncork() {}

    address() {
        return {};
    }

    get remoteAddress() {
        return this.#connection?.host;
    }

    get remotePort() {
        return this.#connection?.port;
    }

    get readyState() {
        if (this.connecting) return "opening";
        if (this.destroyed || !this.#connection) return "closed";
        return this.#hasEnded ? "readOnly" : "open";
    }

    get pending() {
        return this.connecting || !this.#connection;
    }

    get closed() {
        return this.destroyed;
    }

    get readable() {
        return !this.destroyed;
    }

    get writable() {
        return !this.destroyed && !this.#hasEnded;
    }

    get writableEnded() {
        return this.#hasEnded;
    }

    get writableLength() {
        return this.#unsentBytes;
    }

    get writableNeedDrain() {
        return this.#unsentBytes >= HIGH_WATER_BYTES;
    }

    async #send() {
        const connection = this.#connection;
        if (this.#isSending || !connection || this.connecting || this.destroyed) return;
        this.#isSending = true;
        try {
            while (this.#unsent.length > 0 && !this.destroyed) {
                const [{ bytes, done }] = this.#unsent;
                await connection.write(bytes);
                if (this.destroyed) return;
                this.#unsent.shift();
                this.bytesWritten += bytes.length;
                const hadToWait = this.writableNeedDrain;
                this.#unsentBytes -= bytes.length;
                this.#touch();
                done?.();
                if (hadToWait && !this.writableNeedDrain) this.emit("drain");
            }
            if (this.#hasEnded && !this.#isFinished && !this.destroyed) {
                this.#isFinished = true;
                connection.finish();
                this.emit("finish");
                if (this.#isOver) this.destroy();
            }
        } catch (err) {
            this.destroy(err);
        } finally {
            this.#isSending = false;
        }
    }

    async #read() {
        const connection = this.#connection;
        if (this.#isReading || !connection || this.connecting || this.destroyed) return;
        this.#isReading = true;
        const isWanted = () => this.#flows && this.#connection === connection;
        try {
            while (isWanted() && !this.destroyed) {
                const piece = await connection.read(isWanted);
                if (piece === undefined) continue;
                if (piece.length === 0) return this.#end();
                this.bytesRead += piece.length;
                this.#touch();
                this.emit("data", this.#given(piece));
            }
        } catch (err) {
            this.destroy(err);
        } finally {
            this.#isReading = false;
        }
    }

    /** The server sends no more. What is still to be sent is sent, and then it is closed. */
    #end() {
        this.#isOver = true;
        this.emit("end");
        if (this.#isFinished) this.destroy();
        else this.end();
    }

    #given(piece) {
        if (this.#encoding) return this.#encoding.decode?.(piece, { stream: true }) ?? this.#encoding(piece);
        const { Buffer } = globalThis;
        return Buffer ? Buffer.from(piece.buffer, piece.byteOffset, piece.length) : piece;
    }

    /** Something moved. */
    #touch() {
        clearTimeout(this.#timer);
        if (this.timeout > 0 && !this.destroyed) this.#timer = setTimeout(() => this.emit("timeout"), this.timeout);
    }
}

export class Server extends EventEmitter {
    listen() {
        throw coded("EPERM", "a component makes connections, and accepts none");
    }
}

export const createServer = () => new Server();

export const connect = (...args) => new Socket().connect(...args);
export const createConnection = connect;

export const isIPv4 = (text) => /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/.test(text);
export const isIPv6 = (text) => /^[0-9a-f:.]*$/i.test(text) && String(text).split(":").length > 2;
export const isIP = (text) => (isIPv4(text) ? 4 : isIPv6(text) ? 6 : 0);

/** `(options, listener)`, or `(port, host, listener)`, or `(path, listener)`. */
export function asked(args) {
    const listener = args.findLast((arg) => typeof arg === "function");
    const [first, second] = args;
    if (typeof first === "object") return { options: first, listener };
    if (Number.isNaN(Number(first))) return { options: { path: first }, listener };
    return { options: { port: first, host: typeof second === "string" ? second : undefined }, listener };
}

export function coded(code, message) {
    return Object.assign(new Error(message), { code });
}

function bytesOf(data, encoding) {
    if (typeof data !== "string") return data.slice();
    if (encoding === "latin1" || encoding === "binary") return Uint8Array.from(data, (char) => char.charCodeAt(0));
    const { Buffer } = globalThis;
    const isText = encoding === undefined || encoding === null || /^utf-?8$/i.test(encoding);
    return isText || !Buffer ? encode(data) : Buffer.from(data, encoding);
}

export default { Server, Socket, Stream: Socket, connect, createConnection, createServer, isIP, isIPv4, isIPv6 };
