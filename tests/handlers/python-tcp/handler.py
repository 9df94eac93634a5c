"""Opens connections with the client that its payload names; connections.rs says what else the payload may hold.

What a client raises is left to the kit.
"""

import asyncio
import io
import smtplib
import socket
import ssl
from email.message import EmailMessage

import kiln
import pg8000.dbapi
import pg8000.native
import redis
import redis.asyncio

PIECE = 50_000
"""Bytes that are written at once."""


@kiln.handler
async def handle(job: dict) -> object:
    if client := CLIENTS.get((job["client"], job["do"])):
        done = client(job)
        return await done if asyncio.iscoroutine(done) else done
    raise kiln.Permanent(f"unknown: {job}")


def address(job: dict) -> tuple[str, int]:
    return (job["host"], job["port"])


def timeout(job: dict) -> float | None:
    return job["timeout_ms"] / 1000 if "timeout_ms" in job else None


def connected(job: dict) -> socket.socket:
    return socket.create_connection(address(job), timeout(job) or 20)


def greet(job: dict) -> object:
    """Hears what the server says first, and answers it."""
    with connected(job) as connection, connection.makefile("rw", newline="\n") as lines:
        greeting = lines.readline()
        lines.write(f"{job['text']}\n")
        lines.flush()
        return {"greeting": greeting.strip(), "answer": lines.readline().strip()}


def upload(job: dict) -> object:
    """Sends everything, and reads to the end what comes back."""
    with connected(job) as connection:
        text = job["text"].encode() * job["repeat"]
        for start in range(0, len(text), PIECE):
            connection.sendall(text[start : start + PIECE])
        connection.shutdown(socket.SHUT_WR)
        size = total = 0
        while piece := connection.recv(PIECE):
            size += len(piece)
            total += sum(piece)
        return {"bytes": size, "sum": total}


def upgrade(job: dict) -> object:
    """Goes on with TLS once the server consents."""
    with connected(job) as connection:
        connection.sendall(b"STARTTLS\n")
        if connection.recv(100) != b"go on\n":
            raise kiln.Permanent("no consent")
        with ssl.create_default_context().wrap_socket(connection, server_hostname=job["name"]) as secured:
            secured.sendall(job["text"].encode() + b"\n")
            return {"answer": secured.recv(100).decode().strip()}


async def greet_async(job: dict) -> object:
    async with asyncio.timeout(timeout(job)):
        reader, writer = await asyncio.open_connection(*address(job))
        greeting = await reader.readline()
        writer.write(f"{job['text']}\n".encode())
        await writer.drain()
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return {"greeting": greeting.decode().strip(), "answer": answer.decode().strip()}


async def several(job: dict) -> object:
    return await asyncio.gather(*(greet_async(job) for _ in range(job["n"])))


async def upload_async(job: dict) -> object:
    reader, writer = await asyncio.open_connection(*address(job))
    text = job["text"].encode() * job["repeat"]
    for start in range(0, len(text), PIECE):
        writer.write(text[start : start + PIECE])
        await writer.drain()
    writer.write_eof()
    size = total = 0
    while piece := await reader.read(PIECE):
        size += len(piece)
        total += sum(piece)
    writer.close()
    return {"bytes": size, "sum": total}


async def upgrade_async(job: dict) -> object:
    reader, writer = await asyncio.open_connection(*address(job))
    writer.write(b"STARTTLS\n")
    if await reader.readline() != b"go on\n":
        raise kiln.Permanent("no consent")
    await writer.start_tls(ssl.create_default_context(), server_hostname=job["name"])
    writer.write(job["text"].encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    return {"answer": answer.decode().strip()}


def account(job: dict) -> dict:
    tls = ssl.create_default_context() if job["client"].endswith("TLS") else False
    own = {"user": "kiln", "password": "tea", "database": "postgres"}
    return {**own, "host": job["host"], "port": job["port"], "ssl_context": tls}


def sql(job: dict) -> object:
    """Asks with parameters, and meets an error that leaves the connection usable."""
    with pg8000.native.Connection(**account(job)) as connection:
        rows = connection.run("SELECT :n::int + 1, :text::text, NULL", n=job["n"], text=job["text"])
        try:
            connection.run("SELECT * FROM nowhere")
        except pg8000.native.DatabaseError as error:
            return {"rows": rows, "code": error.args[0]["C"]}


def import_rows(job: dict) -> object:
    """Puts rows into a table in one transaction."""
    with pg8000.dbapi.connect(**account(job)) as connection:
        cursor = connection.cursor()
        cursor.execute(f"CREATE TABLE {job['table']} (n int PRIMARY KEY, name text)")
        rows = io.StringIO("".join(f"{n}\trow {n}\n" for n in range(job["rows"])))
        cursor.execute(f"COPY {job['table']} FROM STDIN", stream=rows)
        connection.commit()
        cursor.execute(f"SELECT count(*), sum(n) FROM {job['table']}")
        return {"sums": [int(value) for value in cursor.fetchone()]}


def with_redis(job: dict) -> object:
    client = redis.Redis(*address(job), decode_responses=True)
    client.set(job["key"], job["text"])
    with client.pipeline() as several:
        for _ in range(job["n"]):
            several.incr(f"{job['key']}:n")
        counted = several.execute()[-1]
    return {"text": client.get(job["key"]), "counted": counted}


async def with_redis_async(job: dict) -> object:
    # A plugin may have eight connections at once.
    pool = redis.asyncio.BlockingConnectionPool(
        host=job["host"], port=job["port"], max_connections=4, decode_responses=True
    )
    async with redis.asyncio.Redis.from_pool(pool) as client:
        await client.set(job["key"], job["text"])
        counted = await asyncio.gather(*(client.incr(f"{job['key']}:n") for _ in range(job["n"])))
        return {"text": await client.get(job["key"]), "counted": max(counted)}


def mail(job: dict) -> object:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@example.com", job["to"], job["text"]
    message.set_content(job["text"])
    with smtplib.SMTP(*address(job)) as server:
        if job["starttls"]:
            server.starttls(context=ssl.create_default_context())
        refused = server.send_message(message)
    return {"refused": refused}


CLIENTS = {
    ("socket", "greet"): greet,
    ("socket", "upload"): upload,
    ("socket", "upgrade"): upgrade,
    ("asyncio", "greet"): greet_async,
    ("asyncio", "several"): several,
    ("asyncio", "upload"): upload_async,
    ("asyncio", "upgrade"): upgrade_async,
    ("pg8000", "sql"): sql,
    ("pg8000 over TLS", "sql"): sql,
    ("pg8000", "import"): import_rows,
    ("redis", "redis"): with_redis,
    ("redis.asyncio", "redis"): with_redis_async,
    ("smtplib", "mail"): mail,
}
