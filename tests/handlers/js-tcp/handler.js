// Opens connections with the client that its payload names; tests/suite/connections.rs says what else the payload may hold.

import "./node/globals.js";

import net from "node:net";
import tls from "node:tls";
import Redis from "ioredis";
import pg from "pg";
import { handle, Permanent, Retry } from "./kiln/index.js";

export const handler = handle(async (job) => {
    const client = clients[job.client]?.[job.do];
    if (!client) throw new Permanent(`unknown: ${JSON.stringify(job)}`);
    return client(job);
});

const PIECE_BYTES = 50_000;

/** What a socket brings, line by line. */
async function* lines(socket) {
    let text = "";
    for await (const piece of pieces(socket)) {
        text += piece.toString();
        for (let end; (end = text.indexOf("\n")) >= 0; text = text.slice(end + 1)) yield text.slice(0, end);
    }
}

/** What a socket brings until its end. */
async function* pieces(socket) {
    const come = [];
    let wake = () => {};
    let isOver = false;
    let failure;
    socket.on("data", (piece) => (come.push(piece), wake()));
    socket.on("error", (err) => ((failure = err), wake()));
    socket.on("close", () => ((isOver = true), wake()));
    for (;;) {
        while (come.length > 0) yield come.shift();
        if (failure) throw failure;
        if (isOver) return;
        await new Promise((resolve) => (wake = resolve));
    }
}

/** Hears what the server says first, and answers it. */
async function greet({ host, port, text, timeout_ms }) {
    const socket = net.connect({ host, port });
    if (timeout_ms) socket.setTimeout(timeout_ms, () => socket.destroy(new Retry("it took too long")));
    const heard = lines(socket);
    const greeting = (await heard.next()).value;
    socket.write(`${text}\n`);
    const answer = (await heard.next()).value;
    socket.destroy();
    return { greeting, answer };
}

const several = (job) => Promise.all(Array.from({ length: job.n }, () => greet(job)));

/** Sends everything, and reads to the end what comes back. */
async function upload({ host, port, text, repeat }) {
    const socket = net.connect(port, host);
    const bytes = new TextEncoder().encode(text.repeat(repeat));
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
        if (!socket.write(bytes.subarray(at, at + PIECE_BYTES))) await new Promise((go) => socket.once("drain", go));
    }
    socket.end();
    let [size, sum] = [0, 0];
    for await (const piece of pieces(socket)) {
        size += piece.length;
        for (const byte of piece) sum += byte;
    }
    return { bytes: size, sum };
}

/** Goes on with TLS once the server consents. */
async function upgrade({ host, port, name, text }) {
    const socket = net.connect(port, host);
    socket.write("STARTTLS\n");
    const consent = await new Promise((resolve, reject) => socket.once("error", reject).once("data", resolve));
    if (consent.toString() !== "go on\n") throw new Permanent("no consent");
    const secured = tls.connect({ socket, servername: name });
    secured.write(`${text}\n`);
    const { value } = await lines(secured).next();
    return { answer: value };
}

async function connected({ client, host, port }) {
    const database = new pg.Client({
        host,
        port,
        user: "kiln",
        password: "tea",
        database: "postgres",
        ssl: client.endsWith("TLS"),
    });
    await database.connect();
    return database;
}

/** Asks with parameters, and meets an error that leaves the connection usable. */
async function sql(job) {
    const database = await connected(job);
    try {
        await database.query("SELECT * FROM nowhere");
    } catch (err) {
        const query = { text: "SELECT $1::int + 1, $2::text, NULL", values: [job.n, job.text], rowMode: "array" };
        const { rows } = await database.query(query);
        await database.end();
        return { rows, code: err.code };
    }
}

/** Puts rows into a table in one transaction. */
async function imported(job) {
    const database = await connected(job);
    await database.query("BEGIN");
    await database.query(`CREATE TABLE ${job.table} (n int PRIMARY KEY, name text)`);
    const numbers = Array.from({ length: job.rows }, (_, n) => n);
    const names = numbers.map((n) => `row ${n}`);
    await database.query(`INSERT INTO ${job.table} SELECT * FROM unnest($1::int[], $2::text[])`, [numbers, names]);
    await database.query("COMMIT");
    const { rows } = await database.query(`SELECT count(*)::int, sum(n)::int FROM ${job.table}`);
    await database.end();
    return { sums: Object.values(rows[0]) };
}

async function redis({ host, port, key, text, n }) {
    const client = new Redis({ host, port });
    await client.set(key, text);
    const counted = await Promise.all(Array.from({ length: n }, () => client.incr(`${key}:n`)));
    const found = await client.get(key);
    await client.quit();
    return { text: found, counted: Math.max(...counted) };
}

const clients = {
    net: { greet, several, upload, upgrade },
    pg: { sql, import: imported },
    "pg over TLS": { sql },
    ioredis: { redis },
};
