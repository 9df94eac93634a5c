/*
 * TCP connections.
 *
 *     kiln_tcp connection;
 *     char answer[100];
 *     if (!kiln_tcp_connect(&connection, "redis.internal", 6379, 5000)) return kiln_tcp_failure(&connection);
 *     kiln_tcp_write(&connection, "PING\r\n", 6);
 *     size_t length = kiln_tcp_read(&connection, answer, sizeof answer);
 *     kiln_tcp_close(&connection);
 *
 * The operator grants what may be reached ([[grants.tcp]] in the manifest). A connection that no grant covers ends the
 * attempt: the handler never hears of it. The host resolves names, and speaks TLS where the grant says `tls = true`.
 * After an error every call but kiln_tcp_close() fails.
 *
 * Compiled for anything but WebAssembly there is no network: kiln_tcp_connect() fails. All functions but
 * kiln_tcp_failure() are weak there, so a test defines those that the handler calls.
 */
#ifndef KILN_TCP_H
#define KILN_TCP_H

#include "kiln.h"

typedef enum kiln_tcp_error {
    KILN_TCP_OK,
    KILN_TCP_INVALID,  /* a name or port that cannot be, or a connection that is not open */
    KILN_TCP_DNS,      /* the server's name could not be resolved */
    KILN_TCP_CONNECT,  /* no connection: refused, unreachable */
    KILN_TCP_TLS,      /* the server could not prove who it is, or TLS failed otherwise */
    KILN_TCP_TIMEOUT,  /* something took longer than it may */
    KILN_TCP_NETWORK,  /* the connection broke */
    KILN_TCP_TOO_MANY, /* more connections than the plugin may have, or more bytes */
} kiln_tcp_error;

typedef struct kiln_tcp {
    kiln_tcp_error error;
    const char *message; /* what went wrong, in one line; "" where nothing did */
    uint64_t timeout_ms; /* for each call; 0, and what is more than the plugin's limits: those limits */
    bool open;
    uint32_t number;     /* the host's */
} kiln_tcp;

/* False: look at `error`. */
bool kiln_tcp_connect(kiln_tcp *connection, const char *host, uint16_t port, uint64_t timeout_ms);

/* Has the host speak TLS from here on, as after STARTTLS, once it has verified that the server has this name. */
bool kiln_tcp_start_tls(kiln_tcp *connection, const char *server_name);

/* Sends all of it. */
bool kiln_tcp_write(kiln_tcp *connection, const void *data, size_t length);

/* Waits for bytes, no more than `size`. 0: the server sends no more, or see `error`. */
size_t kiln_tcp_read(kiln_tcp *connection, void *buffer, size_t size);

/* Sends no more. What the server sends can still be read. */
bool kiln_tcp_finish(kiln_tcp *connection);

void kiln_tcp_close(kiln_tcp *connection);

/* What the attempt does best to return after an error: retry for what may work later, permanent for the rest. */
kiln_answer kiln_tcp_failure(const kiln_tcp *connection);

#endif
