/*
 * HTTP requests.
 *
 *     kiln_http_response response;
 *     kiln_answer answer;
 *     kiln_http(&(kiln_http_request){.url = "https://api.example.com/rates"}, &response);
 *     if (!kiln_check_status(&response, &answer)) return answer;
 *
 * The operator grants what may be reached ([[grants.http]] in the manifest). A request that no grant covers ends the
 * attempt: the handler never hears of it. The host resolves names, connects, speaks TLS and verifies certificates.
 * Redirects are not followed. Several requests at once need one open response each.
 *
 * Compiled for anything but WebAssembly there is no network: kiln_http_open() fails. All functions but
 * kiln_check_status() and kiln_http_value() are weak there, so a test defines the one that the handler calls.
 */
#ifndef KILN_HTTP_H
#define KILN_HTTP_H

#include "kiln.h"

/* The longest body that kiln_http() reads where the request does not say: 1 MiB. */
#define KILN_HTTP_MAX_BYTES ((size_t)1 << 20)

typedef struct kiln_http_header {
    const char *name;
    const char *value;
} kiln_http_header;

/* Zeroed members have the meaning that stands beside them. */
typedef struct kiln_http_request {
    const char *method; /* NULL: POST where there is a body, else GET */
    const char *url;    /* absolute, http or https */
    const kiln_http_header *headers;
    size_t header_count;
    kiln_string body;    /* sent where `data` is not NULL; its length goes out as content-length */
    uint64_t timeout_ms; /* to connect, until the head of the answer is there, and between two pieces of its body; 0, and
                            what is more than the plugin's limits: those limits */
    size_t max_bytes;    /* the longest body that kiln_http() reads; 0: KILN_HTTP_MAX_BYTES */
} kiln_http_request;

typedef enum kiln_http_error {
    KILN_HTTP_OK,
    KILN_HTTP_INVALID,   /* a URL, method or header that cannot be sent */
    KILN_HTTP_DNS,       /* the server's name could not be resolved */
    KILN_HTTP_CONNECT,   /* no connection: refused, unreachable */
    KILN_HTTP_TLS,       /* the server could not prove who it is, or TLS failed otherwise */
    KILN_HTTP_TIMEOUT,   /* something took longer than it may */
    KILN_HTTP_NETWORK,   /* the connection broke, or the server does not keep to HTTP */
    KILN_HTTP_TOO_LARGE, /* a head or a body is larger than it may be */
    KILN_HTTP_TOO_MANY,  /* more requests than the plugin may make, or more at once */
} kiln_http_error;

typedef struct kiln_http_response {
    kiln_http_error error;
    const char *message; /* what went wrong, in one line; "" where nothing did */
    uint16_t status;
    const kiln_http_header *headers; /* names in lower case */
    size_t header_count;
    kiln_string body;  /* of kiln_http(): with a NUL after it */
    uint32_t exchange; /* the host's number for it; 0 once it is closed */
} kiln_http_response;

/* Sends a request, waits for the answer and reads its body. False: look at `error`. Any status is an answer. */
bool kiln_http(const kiln_http_request *request, kiln_http_response *response);

/*
 * The same without the body, which kiln_http_read() reads piece by piece. An answer that is not read to its end has to be
 * closed: an open one counts against the plugin's http_connections.
 */
bool kiln_http_open(const kiln_http_request *request, kiln_http_response *response);

/* Waits for the next piece of the body, as it came, and no longer than `size`. 0: that was all, or see `error`. */
size_t kiln_http_read(kiln_http_response *response, char *buffer, size_t size);

void kiln_http_close(kiln_http_response *response);

/* The value of a header, whatever the case of its name; the first, if there are several; NULL if there is none. */
const char *kiln_http_value(const kiln_http_response *response, const char *name);

/*
 * Whether an answer came, with a status below 400. Otherwise `answer` is what the attempt does best to return: retry for
 * what may work later (no answer, 408, 425, 429, 5xx), not before the time that the server named with 429 or 503, and
 * permanent for other statuses and for what cannot be sent or is too large.
 */
bool kiln_check_status(const kiln_http_response *response, kiln_answer *answer);

#endif
