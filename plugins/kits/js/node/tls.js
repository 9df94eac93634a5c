// Node's `tls`, as far as clients use it. The host speaks TLS and verifies certificates, always: `rejectUnauthorized: false`
// and own authorities change nothing, and a client has no certificate.

import { Connection } from "../tcp.js";
import net, { asked, isIP } from "./net.js";

export class TLSSocket extends net.Socket {
    encrypted = true;
    authorized = false;
    authorizationError = null;
    alpnProtocol = false;

    get _connectEvent() {
        return "secureConnect";
    }

    async _open({ socket, host = "localhost", port, servername }) {
        const connection = socket ? socket._detach() : new Connection(String(host), Number(port));
        this._attach(connection);
        // Clients listen for the end of the socket beneath.
        if (socket) this.once("close", () => socket.destroy());
        // In any case a little later: nobody listens yet.
        await (socket ? undefined : connection.connected());
        if (this.destroyed) return;
        connection.startTls(servername || (socket && isIP(host) === 0 && host !== "localhost" ? host : connection.host));
        this.authorized = true;
        this._stands();
        this.emit("secureConnect");
        this.emit("secure");
    }

    getPeerCertificate() {
        return {};
    }

    getCipher() {
        return {};
    }

    getProtocol() {
        return "TLSv1.3";
    }
}

export function connect(...args) {
    const { options, listener } = asked(args);
    // `(port, host, options, listener)`, too.
    const more = args.slice(1).find((arg) => typeof arg === "object" && arg !== null);
    return new TLSSocket().connect({ ...options, ...more }, ...(listener ? [listener] : []));
}

export const checkServerIdentity = () => undefined;
export const createSecureContext = () => ({});
export const rootCertificates = [];

export default { TLSSocket, checkServerIdentity, connect, createSecureContext, rootCertificates };
