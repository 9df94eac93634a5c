/* Does what its payload asks for, so that tests can tell whether C's kit keeps to the contract. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "kiln/kiln.h"

/* 1 whenever it is looked at, since no attempt sees another's memory. */
static int count;

static kiln_answer done(kiln_buffer *result) {
    return kiln_ok(result->data);
}

static kiln_answer value_or_null(const char *value) {
    kiln_buffer result = {0};
    kiln_put(&result, "{\"value\": ");
    if (value == NULL) {
        kiln_put(&result, "null");
    } else {
        kiln_put_json(&result, kiln_text(value));
    }
    kiln_put(&result, "}");
    return done(&result);
}

static kiln_answer describe(const kiln_job *job) {
    kiln_buffer result = {0};
    kiln_put(&result, "{\"id\": ");
    kiln_put_json(&result, job->id);
    kiln_put(&result, ", \"name\": ");
    kiln_put_json(&result, job->name);
    kiln_put(&result, ", \"queue\": ");
    kiln_put_json(&result, job->queue);
    kiln_put(&result, ", \"attempt\": %" PRIu32 ", \"max_attempts\": %" PRIu32, job->attempt, job->max_attempts);
    kiln_put(&result, ", \"created_at_ms\": %" PRIu64 ", \"metadata\": ", job->created_at_ms);
    kiln_put_bytes(&result, job->metadata.data, job->metadata.length);
    kiln_put(&result, "}");
    return done(&result);
}

static kiln_answer log_lines(const char *message) {
    kiln_log(KILN_DEBUG, "%s", message);
    kiln_log(KILN_INFO, "%s", message);
    kiln_log(KILN_WARN, "%s", message);
    kiln_log(KILN_ERROR, "%s", message);
    puts(message);
    return kiln_none();
}

static kiln_answer progress(void) {
    kiln_progress(50, "half way");
    kiln_buffer result = {0};
    const char *remaining = kiln_remaining_ms() > 0 ? "true" : "false";
    const char *cancelled = kiln_is_cancelled() ? "true" : "false";
    kiln_put(&result, "{\"remaining\": %s, \"cancelled\": %s}", remaining, cancelled);
    return done(&result);
}

static kiln_answer typed(kiln_json payload) {
    kiln_string text = kiln_json_string(kiln_json_get(payload, "text"));
    int64_t number = kiln_json_int64(kiln_json_get(payload, "count"));
    if (payload.document->error) return kiln_permanent("payload: %s", payload.document->error);
    int64_t next;
    if (__builtin_add_overflow(number, 1, &next)) return kiln_permanent("payload: count: nothing follows it");
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) length += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    kiln_buffer result = {0};
    kiln_put(&result, "{\"text\": ");
    kiln_put_json(&result, text);
    kiln_put(&result, ", \"length\": %zu, \"count\": %" PRId64 "}", length, next);
    return done(&result);
}

static kiln_answer random_number(void) {
    uint64_t number;
    if (getentropy(&number, sizeof number) != 0) return kiln_retry("no random numbers");
    kiln_buffer result = {0};
    kiln_put(&result, "{\"value\": %" PRIu64 "}", number >> 16);
    return done(&result);
}

static kiln_answer clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    kiln_buffer result = {0};
    kiln_put(&result, "{\"ms\": %lld}", now.tv_sec * 1000LL + now.tv_nsec / 1000000);
    return done(&result);
}

static kiln_answer nap(int64_t ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
    return kiln_none();
}

static kiln_answer bulk(int64_t size) {
    kiln_buffer result = {0};
    kiln_put(&result, "{\"text\": \"");
    for (int64_t i = 0; i < size; i++) kiln_put_bytes(&result, "x", 1);
    kiln_put(&result, "\"}");
    return done(&result);
}

/* Puts the answer's headers as pairs. */
static void put_headers(kiln_buffer *result, const kiln_http_response *response) {
    for (size_t i = 0; i < response->header_count; i++) {
        kiln_put(result, i == 0 ? "[" : ", [");
        kiln_put_json(result, kiln_text(response->headers[i].name));
        kiln_put(result, ", ");
        kiln_put_json(result, kiln_text(response->headers[i].value));
        kiln_put(result, "]");
    }
}

/* Reads the body of an answer as it comes: how many bytes there are, and their sum. */
static kiln_answer add_up(kiln_http_response *response, kiln_json then) {
    static char piece[4096];
    uint64_t bytes = 0, sum = 0;
    for (size_t length; (length = kiln_http_read(response, piece, sizeof piece)) > 0; bytes += length) {
        kiln_http_response other;
        if (bytes == 0 && then.kind != KILN_JSON_NONE) {
            kiln_http(&(kiln_http_request){.url = kiln_json_string(then).data}, &other);
        }
        for (size_t i = 0; i < length; i++) sum += (unsigned char)piece[i];
    }
    kiln_answer answer;
    if (!kiln_check_status(response, &answer)) return answer;
    kiln_buffer result = {0};
    kiln_put(&result, "{\"bytes\": %" PRIu64 ", \"sum\": %" PRIu64 "}", bytes, sum);
    return done(&result);
}

static kiln_string repeated(kiln_string text, kiln_json times) {
    if (times.kind == KILN_JSON_NONE) return text;
    kiln_buffer all = {0};
    for (int64_t left = kiln_json_int64(times); left > 0; left--) kiln_put_bytes(&all, text.data, text.length);
    return (kiln_string){all.data, all.length};
}

/* Makes a request; clients.rs says what the payload may hold. */
static kiln_answer http(kiln_json payload) {
    static kiln_http_header headers[16];
    kiln_http_request request = {
        .method = kiln_json_string(kiln_json_get(payload, "method")).data,
        .url = kiln_json_string(kiln_json_get(payload, "url")).data,
        .headers = headers,
    };
    kiln_json given = kiln_json_get(payload, "headers"), body = kiln_json_get(payload, "body");
    kiln_json timeout = kiln_json_get(payload, "timeout_ms");
    kiln_json name, value = {0};
    for (kiln_json pair = {0}; given.kind != KILN_JSON_NONE && kiln_json_next(given, &pair);) {
        name = (kiln_json){0};
        if (!kiln_json_next(pair, &name) || request.header_count == 16) return kiln_permanent("payload: headers");
        value = name;
        if (!kiln_json_next(pair, &value)) return kiln_permanent("payload: headers");
        headers[request.header_count++] = (kiln_http_header){kiln_json_string(name).data, kiln_json_string(value).data};
    }
    if (body.kind != KILN_JSON_NONE) request.body = repeated(kiln_json_string(body), kiln_json_get(payload, "repeat"));
    if (timeout.kind != KILN_JSON_NONE) request.timeout_ms = (uint64_t)kiln_json_int64(timeout);
    if (payload.document->error) return kiln_permanent("payload: %s", payload.document->error);

    kiln_http_response response;
    kiln_answer answer;
    if (kiln_json_get(payload, "add_up").kind != KILN_JSON_NONE) {
        kiln_http_open(&request, &response);
        return add_up(&response, kiln_json_get(payload, "then"));
    }
    kiln_http(&request, &response);
    bool checks = kiln_json_get(payload, "check").kind != KILN_JSON_NONE;
    if ((checks || response.error) && !kiln_check_status(&response, &answer)) return answer;
    kiln_buffer result = {0};
    kiln_put(&result, "{\"status\": %u, \"headers\": [", response.status);
    put_headers(&result, &response);
    kiln_put(&result, "], \"body\": ");
    kiln_put_json(&result, response.body);
    kiln_put(&result, "}");
    return done(&result);
}

static void put_value(kiln_buffer *result, const char *name, kiln_value value) {
    kiln_put(result, "\"%s\": ", name);
    if (value.json.data == NULL) {
        kiln_put(result, "null, ");
    } else {
        kiln_put_bytes(result, value.json.data, value.json.length);
        kiln_put(result, ", ");
    }
}

static kiln_answer work(int *calls) {
    ++*calls;
    return kiln_ok("\"done\"");
}

/* Enqueues what conformance.rs looks for. */
static kiln_answer enqueue_all(kiln_json payload) {
    kiln_string text = kiln_json_string(kiln_json_get(payload, "text"));
    int64_t n = kiln_json_int64(kiln_json_get(payload, "n"));
    kiln_buffer first = {0}, second = {0}, options = {0}, result = {0};
    kiln_put(&first, "{\"text\": ");
    kiln_put_json(&first, text);
    kiln_put(&first, ", \"n\": %" PRId64 "}", n);
    kiln_put(&second, "[%" PRId64 "]", n);
    kiln_put(&options, "{\"queue\": \"other\", \"delay\": \"90s\", \"id\": \"mine\", \"max_attempts\": 2, \"metadata\": {\"who\": ");
    kiln_put_json(&options, text);
    kiln_put(&options, "}}");
    kiln_enqueued one, other, refused;
    if (!kiln_enqueue("after", kiln_text(first.data), NULL, &one)) return kiln_flow_failure(&one);
    if (!kiln_enqueue("after", kiln_text(second.data), options.data, &other)) return kiln_flow_failure(&other);
    bool is_refused = !kiln_enqueue("after", kiln_text("null"), "{\"queue\": \"a b\"}", &refused);
    is_refused = is_refused && refused.error == KILN_FLOW_INVALID;
    kiln_put(&result, "{\"ids\": [\"%s\", \"%s\"], \"refused\": %s}", one.id.data, other.id.data, is_refused ? "true" : "false");
    return done(&result);
}

/* Keeps, changes and does once what conformance.rs looks for. */
static kiln_answer remember(const char *key) {
    kiln_bucket things = {.name = "things"};
    kiln_value before, read, gone;
    kiln_keys keys;
    int64_t counted;
    kiln_buffer number = {0}, once = {0}, result = {0};
    kiln_put(&number, "%s/n", key);
    kiln_put(&once, "%s/once", key);
    if (!kiln_state_get(&things, key, &before)) return kiln_state_failure(&things);
    if (!kiln_state_set(&things, key, kiln_text("{\"text\":\"tea ☕\",\"n\":1}"))) return kiln_state_failure(&things);
    if (!kiln_state_get(&things, key, &read)) return kiln_state_failure(&things);
    bool absent = kiln_state_set_if_absent(&things, key, kiln_text("0"), 0);
    if (!absent && things.error != KILN_STATE_CONFLICT) return kiln_state_failure(&things);
    bool swapped = kiln_state_swap(&things, key, read.version, kiln_text("[1]"), NULL);
    bool stale = kiln_state_swap(&things, key, read.version, kiln_text("[2]"), NULL);
    if (!kiln_state_add(&things, number.data, 40, NULL)) return kiln_state_failure(&things);
    if (!kiln_state_add(&things, number.data, 2, &counted)) return kiln_state_failure(&things);
    if (!kiln_state_keys(&things, key, NULL, &keys)) return kiln_state_failure(&things);
    if (!kiln_state_delete(&things, key)) return kiln_state_failure(&things);
    if (!kiln_state_get(&things, key, &gone)) return kiln_state_failure(&things);

    kiln_put(&result, "{");
    put_value(&result, "before", before);
    put_value(&result, "read", read);
    put_value(&result, "gone", gone);
    kiln_put(&result, "\"keys\": [");
    for (size_t i = 0; i < keys.count; i++) {
        kiln_put(&result, i == 0 ? "" : ", ");
        kiln_put_json(&result, keys.list[i]);
    }
    kiln_put(&result, "], \"once\": [");
    int calls = 0;
    for (int i = 0; i < 2; i++) {
        kiln_answer answer;
        if (kiln_once_begin(&things, once.data, &answer)) answer = kiln_once_end(&things, once.data, work(&calls));
        if (answer.kind != KILN_OK) return answer;
        kiln_put(&result, "%s%s", i == 0 ? "" : ", ", answer.text.data);
    }
    if (!kiln_state_add_on_completion(&things, "jobs", 1)) return kiln_state_failure(&things);
    const char *const is[] = {"false", "true"};
    kiln_put(&result, "], \"absent\": %s, \"swapped\": %s, \"stale\": %s", is[absent], is[swapped], is[stale]);
    kiln_put(&result, ", \"counted\": %" PRId64 ", \"calls\": %d}", counted, calls);
    return done(&result);
}

/* Reads what another handler has kept, and keeps what the next one reads. */
static kiln_answer share(kiln_json payload) {
    kiln_bucket things = {.name = "things"};
    kiln_string key = kiln_json_string(kiln_json_get(payload, "key"));
    kiln_json text = kiln_json_get(payload, "text");
    int64_t n = kiln_json_int64(kiln_json_get(payload, "n")), sum;
    kiln_buffer number = {0}, once = {0}, own = {0}, result = {0};
    kiln_put(&number, "%s/n", key.data);
    kiln_put(&once, "%s/once", key.data);
    kiln_put(&own, "{\"text\": ");
    kiln_put_bytes(&own, text.text, text.length);
    kiln_put(&own, ", \"n\": %" PRId64 "}", n);
    if (payload.document->error) return kiln_permanent("payload: %s", payload.document->error);

    kiln_value before;
    if (!kiln_state_get(&things, key.data, &before)) return kiln_state_failure(&things);
    if (!kiln_state_set(&things, key.data, (kiln_string){own.data, own.length})) return kiln_state_failure(&things);
    if (!kiln_state_add(&things, number.data, n, &sum)) return kiln_state_failure(&things);
    kiln_buffer first = {0};
    kiln_put_bytes(&first, text.text, text.length);
    kiln_answer answer;
    if (kiln_once_begin(&things, once.data, &answer)) answer = kiln_once_end(&things, once.data, kiln_ok(first.data));
    if (answer.kind != KILN_OK) return answer;
    kiln_put(&result, "{");
    put_value(&result, "before", before);
    kiln_put(&result, "\"sum\": %" PRId64 ", \"once\": %s}", sum, answer.text.data);
    return done(&result);
}

static kiln_answer decline(const char *key, const char *message) {
    kiln_bucket things = {.name = "things"};
    kiln_answer answer;
    if (!kiln_once_begin(&things, key, &answer)) return answer;
    return kiln_once_end(&things, key, kiln_permanent("%s", message));
}

kiln_answer handle(const kiln_job *job) {
    kiln_document document;
    kiln_json payload = kiln_json_open(&document, job->payload);
    if (document.error) return kiln_permanent("payload: %s", document.error);
    kiln_json member = {0};
    if (payload.kind == KILN_JSON_OBJECT) member = kiln_json_get(payload, "do");
    if (member.kind == KILN_JSON_NONE) return kiln_ok(job->payload.data);

    const char *what = kiln_json_string(member).data;
    kiln_json text = kiln_json_get(payload, "message");
    const char *message = text.kind == KILN_JSON_NONE ? "" : kiln_json_string(text).data;
    if (document.error) return kiln_permanent("payload: %s", document.error);

    if (strcmp(what, "echo") == 0) return kiln_ok(job->payload.data);
    if (strcmp(what, "none") == 0) return kiln_none();
    if (strcmp(what, "retry") == 0 || strcmp(what, "error") == 0) return kiln_retry("%s", message);
    if (strcmp(what, "permanent") == 0) return kiln_permanent("%s", message);
    if (strcmp(what, "describe") == 0) return describe(job);
    if (strcmp(what, "log") == 0) return log_lines(message);
    if (strcmp(what, "progress") == 0) return progress();
    if (strcmp(what, "typed") == 0) return typed(payload);
    if (strcmp(what, "random") == 0) return random_number();
    if (strcmp(what, "clock") == 0) return clock_ms();
    if (strcmp(what, "nap") == 0) return nap(kiln_json_int64(kiln_json_get(payload, "ms")));
    if (strcmp(what, "bulk") == 0) return bulk(kiln_json_int64(kiln_json_get(payload, "size")));
    if (strcmp(what, "config") == 0) {
        return value_or_null(kiln_config(kiln_json_string(kiln_json_get(payload, "key")).data));
    }
    if (strcmp(what, "env") == 0) {
        return value_or_null(getenv(kiln_json_string(kiln_json_get(payload, "name")).data));
    }
    if (strcmp(what, "retry-after") == 0) {
        return kiln_retry_after((uint64_t)kiln_json_int64(kiln_json_get(payload, "ms")), "%s", message);
    }
    if (strcmp(what, "http") == 0) return http(payload);
    if (strcmp(what, "files") == 0) return files();
    if (strcmp(what, "enqueue") == 0) return enqueue_all(payload);
    if (strcmp(what, "state") == 0) return remember(kiln_json_string(kiln_json_get(payload, "key")).data);
    if (strcmp(what, "share") == 0) return share(payload);
    if (strcmp(what, "decline") == 0) return decline(kiln_json_string(kiln_json_get(payload, "key")).data, message);
    if (strcmp(what, "count") == 0) {
        kiln_buffer result = {0};
        kiln_put(&result, "{\"count\": %d}", ++count);
        return done(&result);
    }
    if (strcmp(what, "crash") == 0) {
        fprintf(stderr, "%s\n", message);
        abort();
    }
    return kiln_permanent("unknown: %s", what);
}
