/* Opens connections as tests/suite/connections.rs asks it to. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kiln/kiln.h"

/* What a job asks for. */
typedef struct asked {
    const char *host, *name, *text, *key;
    int64_t port, repeat, n, timeout_ms;
} asked;

static const char *text_of(kiln_json payload, const char *name) {
    kiln_json member = kiln_json_get(payload, name);
    return member.kind == KILN_JSON_NONE ? "" : kiln_json_string(member).data;
}

static int64_t number_of(kiln_json payload, const char *name) {
    kiln_json member = kiln_json_get(payload, name);
    return member.kind == KILN_JSON_NONE ? 0 : kiln_json_int64(member);
}

static bool connected(kiln_tcp *connection, const asked *asked) {
    return kiln_tcp_connect(connection, asked->host, (uint16_t)asked->port, (uint64_t)asked->timeout_ms);
}

/* Reads up to the end of a line, and leaves that out. */
static bool read_line(kiln_tcp *connection, char *line, size_t size) {
    size_t length = 0;
    while (length + 1 < size && kiln_tcp_read(connection, line + length, 1) == 1 && line[length] != '\n') length++;
    line[length] = '\0';
    if (length > 0 && line[length - 1] == '\r') line[length - 1] = '\0';
    return connection->error == KILN_TCP_OK;
}

static bool write_text(kiln_tcp *connection, const char *text) {
    return kiln_tcp_write(connection, text, strlen(text));
}

static kiln_answer ok(kiln_tcp *connection, kiln_buffer *result) {
    kiln_tcp_close(connection);
    return kiln_ok(result->data);
}

/* Hears what the server says first, and answers it. */
static kiln_answer greet(const asked *asked) {
    kiln_tcp connection;
    char greeting[100], answer[100];
    if (!connected(&connection, asked) || !read_line(&connection, greeting, sizeof greeting)
        || !write_text(&connection, asked->text) || !write_text(&connection, "\n")
        || !read_line(&connection, answer, sizeof answer)) {
        return kiln_tcp_failure(&connection);
    }
    kiln_buffer result = {0};
    kiln_put(&result, "{\"greeting\": ");
    kiln_put_json(&result, kiln_text(greeting));
    kiln_put(&result, ", \"answer\": ");
    kiln_put_json(&result, kiln_text(answer));
    kiln_put(&result, "}");
    return ok(&connection, &result);
}

/* Sends everything, and reads to the end what comes back. */
static kiln_answer upload(const asked *asked) {
    kiln_tcp connection;
    if (!connected(&connection, asked)) return kiln_tcp_failure(&connection);
    kiln_buffer sent = {0};
    for (int64_t i = 0; i < asked->repeat; i++) kiln_put(&sent, "%s", asked->text);
    char none;
    if (!kiln_tcp_write(&connection, NULL, 0) || kiln_tcp_read(&connection, &none, 0) != 0) return kiln_permanent("no bytes");
    kiln_tcp_write(&connection, sent.data, sent.length);
    kiln_tcp_finish(&connection);
    static unsigned char piece[50000];
    uint64_t bytes = 0, sum = 0;
    for (size_t length; (length = kiln_tcp_read(&connection, piece, sizeof piece)) > 0; bytes += length) {
        for (size_t i = 0; i < length; i++) sum += piece[i];
    }
    if (connection.error != KILN_TCP_OK) return kiln_tcp_failure(&connection);
    kiln_buffer result = {0};
    kiln_put(&result, "{\"bytes\": %" PRIu64 ", \"sum\": %" PRIu64 "}", bytes, sum);
    return ok(&connection, &result);
}

/* Goes on with TLS once the server consents. */
static kiln_answer upgrade(const asked *asked) {
    kiln_tcp connection;
    char answer[100];
    if (!connected(&connection, asked) || !write_text(&connection, "STARTTLS\n")
        || !read_line(&connection, answer, sizeof answer) || !kiln_tcp_start_tls(&connection, asked->name)
        || !write_text(&connection, asked->text) || !write_text(&connection, "\n")
        || !read_line(&connection, answer, sizeof answer)) {
        return kiln_tcp_failure(&connection);
    }
    kiln_buffer result = {0};
    kiln_put(&result, "{\"answer\": ");
    kiln_put_json(&result, kiln_text(answer));
    kiln_put(&result, "}");
    return ok(&connection, &result);
}

/* Sends commands as Redis takes them from people: a line each. */
static kiln_answer with_redis(const asked *asked) {
    kiln_tcp connection;
    char line[100];
    if (!connected(&connection, asked)) return kiln_tcp_failure(&connection);
    kiln_buffer commands = {0};
    kiln_put(&commands, "SET %s %s\r\n", asked->key, asked->text);
    for (int64_t i = 0; i < asked->n; i++) kiln_put(&commands, "INCR %s:n\r\n", asked->key);
    kiln_put(&commands, "GET %s\r\n", asked->key);
    kiln_tcp_write(&connection, commands.data, commands.length);
    for (int64_t i = 0; i <= asked->n; i++) read_line(&connection, line, sizeof line);
    int64_t counted = strtoll(line + 1, NULL, 10);
    /* The text's length comes before it. */
    read_line(&connection, line, sizeof line);
    if (!read_line(&connection, line, sizeof line)) return kiln_tcp_failure(&connection);
    kiln_buffer result = {0};
    kiln_put(&result, "{\"counted\": %" PRId64 ", \"text\": ", counted);
    kiln_put_json(&result, kiln_text(line));
    kiln_put(&result, "}");
    return ok(&connection, &result);
}

kiln_answer handle(const kiln_job *job) {
    kiln_document document;
    kiln_json payload = kiln_json_open(&document, job->payload);
    if (document.error) return kiln_permanent("payload: %s", document.error);
    asked asked = {
        .host = text_of(payload, "host"),
        .name = text_of(payload, "name"),
        .text = text_of(payload, "text"),
        .key = text_of(payload, "key"),
        .port = number_of(payload, "port"),
        .repeat = number_of(payload, "repeat"),
        .n = number_of(payload, "n"),
        .timeout_ms = number_of(payload, "timeout_ms"),
    };
    const char *what = text_of(payload, "do");
    if (document.error) return kiln_permanent("payload: %s", document.error);
    if (strcmp(what, "greet") == 0) return greet(&asked);
    if (strcmp(what, "upload") == 0) return upload(&asked);
    if (strcmp(what, "upgrade") == 0) return upgrade(&asked);
    if (strcmp(what, "redis") == 0) return with_redis(&asked);
    return kiln_permanent("unknown: %s", what);
}
