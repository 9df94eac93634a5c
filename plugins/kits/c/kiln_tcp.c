/* TCP connections of the host's. */
#include "kiln_tcp.h"
#include "kiln_host.h"

#include <string.h>

kiln_answer kiln_tcp_failure(const kiln_tcp *connection) {
    if (connection->error == KILN_TCP_INVALID || connection->error == KILN_TCP_TOO_MANY) {
        return kiln_permanent("tcp: %s", connection->message);
    }
    return kiln_retry("tcp: %s", connection->message);
}

static bool fail(kiln_tcp *connection, kiln_tcp_error error, const char *message) {
    connection->error = error;
    connection->message = message;
    return false;
}

/* Bytes that are handed over to be written at once. */
#define PIECE ((size_t)64 * 1024)

#ifdef __wasm__

static bool failed(kiln_tcp *connection, kiln_tcp_connections_error_t *error) {
    /* The kinds are in the order of the contract's, after KILN_TCP_OK. */
    return fail(connection, (kiln_tcp_error)(error->kind + 1), take(error->message.ptr, error->message.len).data);
}

static bool usable(kiln_tcp *connection) {
    if (connection->error == KILN_TCP_OK && !connection->open) fail(connection, KILN_TCP_INVALID, "not connected");
    return connection->error == KILN_TCP_OK;
}

/* Whether the next call will not wait; without a timeout it is the call that waits. */
static bool ready(kiln_tcp *connection, bool to_write) {
    if (!usable(connection)) return false;
    if (connection->timeout_ms == 0) return true;
    job_handler_list_u32_t one = {&connection->number, 1}, none = {NULL, 0};
    kiln_tcp_connections_ready_t ready;
    if (kiln_tcp_connections_wait(to_write ? &none : &one, to_write ? &one : &none, &none, &connection->timeout_ms, &ready)) {
        return true;
    }
    return fail(connection, KILN_TCP_TIMEOUT, "timed out");
}

bool kiln_tcp_connect(kiln_tcp *connection, const char *host, uint16_t port, uint64_t timeout_ms) {
    *connection = (kiln_tcp){.message = "", .timeout_ms = timeout_ms};
    job_handler_string_t name = lend(kiln_text(host));
    kiln_tcp_connections_error_t error;
    if (!kiln_tcp_connections_connect(&name, port, &connection->number, &error)) return failed(connection, &error);
    connection->open = true;
    if (!ready(connection, true)) return false;
    return kiln_tcp_connections_connected(connection->number, &error) || failed(connection, &error);
}

bool kiln_tcp_start_tls(kiln_tcp *connection, const char *server_name) {
    job_handler_string_t name = lend(kiln_text(server_name));
    kiln_tcp_connections_error_t error;
    if (!usable(connection)) return false;
    return kiln_tcp_connections_start_tls(connection->number, &name, &error) || failed(connection, &error);
}

bool kiln_tcp_write(kiln_tcp *connection, const void *data, size_t length) {
    if (length == 0) return usable(connection);
    for (const uint8_t *left = data, *end = left + length; left < end;) {
        size_t length_left = (size_t)(end - left);
        job_handler_list_u8_t piece = {(uint8_t *)left, length_left < PIECE ? length_left : PIECE};
        kiln_tcp_connections_error_t error;
        uint32_t taken;
        if (!ready(connection, true)) return false;
        if (!kiln_tcp_connections_write(connection->number, &piece, &taken, &error)) return failed(connection, &error);
        left += taken;
    }
    return usable(connection);
}

size_t kiln_tcp_read(kiln_tcp *connection, void *buffer, size_t size) {
    kiln_tcp_connections_error_t error;
    job_handler_list_u8_t piece;
    /* The host would call it a mistake. */
    if (size == 0) return 0;
    if (!ready(connection, false)) return 0;
    if (!kiln_tcp_connections_read(connection->number, size < UINT32_MAX ? (uint32_t)size : UINT32_MAX, &piece, &error)) {
        failed(connection, &error);
        return 0;
    }
    if (piece.len > 0) memcpy(buffer, piece.ptr, piece.len);
    job_handler_list_u8_free(&piece);
    return piece.len;
}

bool kiln_tcp_finish(kiln_tcp *connection) {
    kiln_tcp_connections_error_t error;
    if (!usable(connection)) return false;
    return kiln_tcp_connections_finish(connection->number, &error) || failed(connection, &error);
}

void kiln_tcp_close(kiln_tcp *connection) {
    if (connection->open) kiln_tcp_connections_close(connection->number);
    connection->open = false;
}

#else

WEAK bool kiln_tcp_connect(kiln_tcp *connection, const char *host, uint16_t port, uint64_t timeout_ms) {
    (void)host, (void)port;
    *connection = (kiln_tcp){.message = "", .timeout_ms = timeout_ms};
    return fail(connection, KILN_TCP_CONNECT, "no network outside of Kiln: a test defines kiln_tcp_connect()");
}

WEAK bool kiln_tcp_start_tls(kiln_tcp *connection, const char *server_name) {
    (void)connection, (void)server_name;
    return false;
}

WEAK bool kiln_tcp_write(kiln_tcp *connection, const void *data, size_t length) {
    (void)connection, (void)data, (void)length;
    return false;
}

WEAK size_t kiln_tcp_read(kiln_tcp *connection, void *buffer, size_t size) {
    (void)connection, (void)buffer, (void)size;
    return 0;
}

WEAK bool kiln_tcp_finish(kiln_tcp *connection) {
    (void)connection;
    return false;
}

WEAK void kiln_tcp_close(kiln_tcp *connection) {
    connection->open = false;
}

#endif
