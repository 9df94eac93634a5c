/*
 * What a Kiln handler in C is given and what it can answer. ../wit/job.wit tells more of each.
 *
 * A handler is the one function handle(). To crash, in whatever way, is to be tried again: what assert() or the handler
 * wrote to standard error becomes the failure's message. rand() begins anew in every attempt: use getentropy().
 *
 * Compiled for anything but WebAssembly, the host's part is played by functions that write to standard error, so that a
 * test is an ordinary program. They are weak: a test may define its own.
 */
#ifndef KILN_H
#define KILN_H

#include "kiln_json.h"
#include "kiln_text.h"

/* One attempt at one job. */
typedef struct kiln_job {
    kiln_string id;         /* the same on every attempt: an idempotency key */
    kiln_string name;       /* what selected this handler */
    kiln_string queue;
    kiln_string payload;    /* JSON text, byte for byte as it was pushed */
    kiln_string metadata;   /* JSON text of an object */
    uint32_t attempt;       /* counted from 1 */
    uint32_t max_attempts;
    uint64_t created_at_ms; /* since the Unix epoch; 0 where the producer did not say */
} kiln_job;

typedef enum kiln_answer_kind { KILN_OK, KILN_RETRY, KILN_RETRY_AFTER, KILN_PERMANENT } kiln_answer_kind;

typedef struct kiln_answer {
    kiln_answer_kind kind;
    kiln_string text; /* the result as JSON, with `data` NULL where there is none, or why the attempt failed */
    uint64_t after_ms;
} kiln_answer;

/* The handler: the one function that a project writes. */
kiln_answer handle(const kiln_job *job);

/* The job is done, with a result as JSON text, or without one. */
kiln_answer kiln_ok(const char *json);
kiln_answer kiln_none(void);

/* Try again by the retry policy, or not before some time has passed. */
kiln_answer kiln_retry(const char *format, ...) KILN_PRINTF(1, 2);
kiln_answer kiln_retry_after(uint64_t ms, const char *format, ...) KILN_PRINTF(2, 3);

/* Trying again cannot help. */
kiln_answer kiln_permanent(const char *format, ...) KILN_PRINTF(1, 2);

typedef enum kiln_level {
    KILN_TRACE,
    KILN_DEBUG,
    KILN_INFO,
    KILN_WARN,
    KILN_ERROR,
    KILN_CRITICAL,
} kiln_level;

/* Logs a line. What goes to standard output and error is kept too, but it is no log. */
void kiln_log(kiln_level level, const char *format, ...) KILN_PRINTF(2, 3);

/* Tells how far the attempt has come, in percent, with a note or NULL. */
void kiln_progress(unsigned percent, const char *note);

/* Milliseconds until the attempt is interrupted. */
uint64_t kiln_remaining_ms(void);

/* Whether the host is shutting down: a long handler then does best to return kiln_retry() soon. */
bool kiln_is_cancelled(void);

/* A value of the manifest's [config], or NULL. */
const char *kiln_config(const char *key);

/* Follow-up jobs, HTTP requests, values that outlast an attempt, and TCP connections; they use what stands above. */
#include "kiln_flow.h"
#include "kiln_http.h"
#include "kiln_state.h"
#include "kiln_tcp.h"

#endif
