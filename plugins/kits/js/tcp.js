// TCP connections of the host, as promises of this kit: the host resolves names, keeps to the grants, and speaks TLS.

import * as connections from "kiln:tcp/connections";
import { ask as waitAs, event, EXCHANGE, forget, numbers, READABLE, WRITABLE } from "./waiting.js";

/** What one call reads, or writes, at most. */
const PIECE_BYTES = 65_536;

/** What Node.js calls what went wrong. */
const CODES = {
    invalid: "EINVAL",
    dns: "ENOTFOUND",
    connect: "ECONNREFUSED",
    tls: "EPROTO",
    timeout: "ETIMEDOUT",
    network: "ECONNRESET",
    "too-many": "EMFILE",
};

waitAs(
    (events, ms) => {
        const [readable, writable, exchanges] = [READABLE, WRITABLE, EXCHANGE].map((kind) => numbers(events, kind));
        return connections.wait(readable, writable, exchanges, ms) ?? undefined;
    },
    { isForAll: true },
);

/** What the host said of a connection that went wrong. Where a handler does not catch it, the attempt is one to retry. */
export class TcpError extends Error {
    constructor({ kind, message }, host, port) {
        super(`${host}:${port}: ${message}`);
        this.kind = kind;
        this.code = CODES[kind] ?? "EIO";
    }

    get name() {
        return "TcpError";
    }
}

export class Connection {
    #number;
    #isClosed = false;

    constructor(host, port) {
        this.host = host;
        this.port = port;
        this.#number = this.#ask(connections.connect, host, port);
    }

    /** Waits until it stands. */
    async connected() {
        await this.#event(WRITABLE);
        this.#ask(connections.connected, this.#number);
    }

    /** Waits for bytes; none: the server sends no more. `undefined`: it was closed, or is another's, meanwhile. */
    async read(isWanted) {
        await this.#event(READABLE);
        return this.#isClosed || !isWanted() ? undefined : this.#ask(connections.read, this.#number, PIECE_BYTES);
    }

    /** Sends all of these bytes, unless it is closed before. */
    async write(bytes) {
        while (bytes.length > 0) {
            await this.#event(WRITABLE);
            if (this.#isClosed) return;
            const taken = this.#ask(connections.write, this.#number, bytes.subarray(0, PIECE_BYTES));
            bytes = bytes.subarray(taken);
        }
    }

    /** Has the host speak TLS from here on, once it has verified the server's name. Nothing else runs meanwhile. */
    startTls(name) {
        this.#ask(connections.startTls, this.#number, name);
    }

    /** Sends no more. */
    finish() {
        if (!this.#isClosed) this.#ask(connections.finish, this.#number);
    }

    close() {
        if (this.#isClosed) return;
        this.#isClosed = true;
        connections.close(this.#number);
        for (const kind of [READABLE, WRITABLE]) forget(kind, this.#number)?.resolve();
    }

    async #event(kind) {
        if (!this.#isClosed) await event(kind, this.#number);
    }

    #ask(call, ...args) {
        try {
            return call(...args);
        } catch (err) {
            if (!err?.payload?.kind) throw err;
            throw new TcpError(err.payload, this.host, this.port);
        }
    }
}
