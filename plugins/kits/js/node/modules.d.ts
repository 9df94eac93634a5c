// As much of Node's `net` and `tls` as `kiln build` gives to whoever imports them.

declare module "net" {
    interface ConnectOptions {
        port: number;
        /** `localhost` if it is left out. */
        host?: string;
    }

    class Socket {
        readonly connecting: boolean;
        readonly destroyed: boolean;
        readonly encrypted: boolean;
        readonly bytesRead: number;
        readonly bytesWritten: number;
        readonly readyState: "opening" | "open" | "readOnly" | "closed";
        readonly remoteAddress: string | undefined;
        readonly remotePort: number | undefined;
        readonly writableLength: number;
        readonly writableNeedDrain: boolean;
        connect(port: number, host?: string, listener?: () => void): this;
        connect(options: ConnectOptions, listener?: () => void): this;
        /** False: wait for `drain` before you write more. */
        write(data: string | Uint8Array, done?: (err?: Error) => void): boolean;
        /** Sends no more. What the server sends can still be read. */
        end(data?: string | Uint8Array, done?: () => void): this;
        destroy(err?: Error): this;
        pause(): this;
        resume(): this;
        setEncoding(encoding: "utf8" | "latin1"): this;
        /** Emits `timeout` when nothing has moved for so long, and does nothing else. */
        setTimeout(ms: number, listener?: () => void): this;
        setNoDelay(noDelay?: boolean): this;
        setKeepAlive(enable?: boolean, initialDelayMs?: number): this;
        on(name: "data", listener: (piece: Uint8Array & string) => void): this;
        on(name: "error", listener: (err: Error & { code?: string }) => void): this;
        on(name: "connect" | "secureConnect" | "ready" | "drain" | "end" | "finish" | "timeout" | "close", listener: () => void): this;
        once: this["on"];
        off(name: string, listener: (...args: any[]) => void): this;
    }

    function connect(port: number, host?: string, listener?: () => void): Socket;
    function connect(options: ConnectOptions, listener?: () => void): Socket;
    const createConnection: typeof connect;
    function isIP(text: string): 0 | 4 | 6;
}

declare module "tls" {
    import { Socket } from "net";

    class TLSSocket extends Socket {
        readonly authorized: boolean;
    }

    /** Over a socket that is connected, or over a new one. The host verifies that the server is called `servername`. */
    function connect(
        options: { socket: Socket; servername?: string } | { port: number; host?: string; servername?: string },
        listener?: () => void,
    ): TLSSocket;
}

declare module "node:net" {
    export * from "net";
    import * as net from "net";
    export default net;
}

declare module "node:tls" {
    export * from "tls";
    import * as tls from "tls";
    export default tls;
}
