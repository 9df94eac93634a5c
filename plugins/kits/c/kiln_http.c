/* HTTP requests over the host's, and what their answers mean for an attempt. */
#include "kiln_http.h"

#include "kiln_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* Bytes of a body that are asked for at once. */
#define PIECE ((size_t)16 * 1024)

static bool fail(kiln_http_response *response, kiln_http_error error, const char *message) {
    kiln_http_close(response);
    response->error = error;
    response->message = message;
    return false;
}

WEAK bool kiln_http(const kiln_http_request *request, kiln_http_response *response) {
    if (!kiln_http_open(request, response)) return false;
    size_t max = request->max_bytes > 0 ? request->max_bytes : KILN_HTTP_MAX_BYTES;
    kiln_string *body = &response->body;
    size_t capacity = 0;
    for (;;) {
        if (capacity < body->length + PIECE + 1) {
            capacity = 2 * capacity + PIECE + 1;
            body->data = realloc(body->data, capacity);
            if (body->data == NULL) abort();
        }
        size_t length = kiln_http_read(response, body->data + body->length, PIECE);
        body->length += length;
        body->data[body->length] = '\0';
        if (length == 0) return response->error == KILN_HTTP_OK;
        if (body->length > max) return fail(response, KILN_HTTP_TOO_LARGE, "the answer's body has more bytes than max_bytes");
    }
}

const char *kiln_http_value(const kiln_http_response *response, const char *name) {
    for (size_t i = 0; i < response->header_count; i++) {
        if (strcasecmp(response->headers[i].name, name) == 0) return response->headers[i].value;
    }
    return NULL;
}

/* Days from 1970 to a date of the Gregorian calendar, in which a year is taken to begin with March. */
static int64_t days(int year, int month, int day) {
    if (month <= 2) year--;
    int64_t era = year / 400, of_era = year % 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* A Retry-After header in milliseconds from now: seconds or a date. False if it is neither. */
static bool after_ms(const char *text, uint64_t *ms) {
    char month_name[4];
    if (text == NULL) return false;
    size_t digits = strspn(text, "0123456789");
    if (digits > 0 && text[digits] == '\0') {
        uint64_t seconds = strtoull(text, NULL, 10);
        *ms = seconds < UINT64_MAX / 1000 ? seconds * 1000 : UINT64_MAX;
        return true;
    }
    int day, year, hour, minute, second;
    if (sscanf(text, "%*3s, %2d %3s %4d %2d:%2d:%2d GMT", &day, month_name, &year, &hour, &minute, &second) != 6) return false;
    const char *names = "JanFebMarAprMayJunJulAugSepOctNovDec", *found = strstr(names, month_name);
    if (found == NULL || strlen(month_name) != 3) return false;
    int64_t then = days(year, (int)(found - names) / 3 + 1, day) * 86400 + hour * 3600 + minute * 60 + second;
    int64_t left = then - (int64_t)time(NULL);
    *ms = left > 0 ? (uint64_t)left * 1000 : 0;
    return true;
}

bool kiln_check_status(const kiln_http_response *response, kiln_answer *answer) {
    if (response->error == KILN_HTTP_INVALID || response->error == KILN_HTTP_TOO_LARGE) {
        *answer = kiln_permanent("http: %s", response->message);
        return false;
    }
    if (response->error != KILN_HTTP_OK) {
        *answer = kiln_retry("http: %s", response->message);
        return false;
    }
    unsigned status = response->status;
    if (status < 400) return true;
    uint64_t ms;
    if (status != 408 && status != 425 && status != 429 && status < 500) {
        *answer = kiln_permanent("http status %u", status);
    } else if ((status == 429 || status == 503) && after_ms(kiln_http_value(response, "retry-after"), &ms)) {
        *answer = kiln_retry_after(ms, "http status %u", status);
    } else {
        *answer = kiln_retry("http status %u", status);
    }
    return false;
}

#ifdef __wasm__

static bool failed(kiln_http_response *response, kiln_http_client_error_t *error) {
    /* The kinds are in the order of the contract's, after KILN_HTTP_OK. */
    response->exchange = 0;
    return fail(response, (kiln_http_error)(error->kind + 1), take(error->message.ptr, error->message.len).data);
}

bool kiln_http_open(const kiln_http_request *request, kiln_http_response *response) {
    *response = (kiln_http_response){.message = ""};
    size_t count = request->header_count;
    kiln_http_client_header_t *headers = calloc(count + 1, sizeof *headers);
    if (headers == NULL) abort();
    for (size_t i = 0; i < count; i++) {
        const char *value = request->headers[i].value;
        headers[i] = (kiln_http_client_header_t){lend(kiln_text(request->headers[i].name)), {(uint8_t *)value, strlen(value)}};
    }
    bool has_body = request->body.data != NULL;
    const char *method = request->method != NULL ? request->method : has_body ? "POST" : "GET";
    job_handler_option_u64_t timeout = {.is_some = request->timeout_ms > 0, .val = request->timeout_ms};
    kiln_http_client_request_t sent = {
        .method = lend(kiln_text(method)),
        .url = lend(kiln_text(request->url)),
        .headers = {headers, count},
        .body = {.tag = KILN_HTTP_CLIENT_REQUEST_BODY_NONE},
        .connect_timeout_ms = timeout,
        .first_byte_timeout_ms = timeout,
        .between_bytes_timeout_ms = timeout,
    };
    if (has_body) {
        sent.body.tag = KILN_HTTP_CLIENT_REQUEST_BODY_WHOLE;
        sent.body.val.whole = (job_handler_list_u8_t){(uint8_t *)request->body.data, request->body.length};
    }
    kiln_http_client_error_t error;
    kiln_http_client_head_t head;
    bool begun = kiln_http_client_start(&sent, &response->exchange, &error);
    free(headers);
    if (!begun || !kiln_http_client_response(response->exchange, &head, &error)) return failed(response, &error);

    kiln_http_header *found = calloc(head.headers.len + 1, sizeof *found);
    if (found == NULL) abort();
    for (size_t i = 0; i < head.headers.len; i++) {
        kiln_http_client_header_t header = head.headers.ptr[i];
        kiln_string name = take(header.f0.ptr, header.f0.len), value = take(header.f1.ptr, header.f1.len);
        found[i] = (kiln_http_header){name.data, value.data};
    }
    free(head.headers.ptr);
    response->status = head.status;
    response->headers = found;
    response->header_count = head.headers.len;
    return true;
}

size_t kiln_http_read(kiln_http_response *response, char *buffer, size_t size) {
    kiln_http_client_error_t error;
    job_handler_list_u8_t piece;
    if (response->exchange == 0) return 0;
    if (!kiln_http_client_read(response->exchange, size < UINT32_MAX ? (uint32_t)size : UINT32_MAX, &piece, &error)) {
        failed(response, &error);
        return 0;
    }
    if (piece.len == 0) {
        response->exchange = 0;
        return 0;
    }
    memcpy(buffer, piece.ptr, piece.len);
    free(piece.ptr);
    return piece.len;
}

void kiln_http_close(kiln_http_response *response) {
    if (response->exchange != 0) kiln_http_client_close(response->exchange);
    response->exchange = 0;
}

#else

WEAK bool kiln_http_open(const kiln_http_request *request, kiln_http_response *response) {
    (void)request;
    *response = (kiln_http_response){.message = ""};
    return fail(response, KILN_HTTP_CONNECT, "no network outside of Kiln: a test defines kiln_http() or kiln_http_open()");
}

WEAK size_t kiln_http_read(kiln_http_response *response, char *buffer, size_t size) {
    (void)response, (void)buffer, (void)size;
    return 0;
}

WEAK void kiln_http_close(kiln_http_response *response) {
    response->exchange = 0;
}

#endif
