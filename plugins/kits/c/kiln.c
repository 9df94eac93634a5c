/* Answers, and what lies between handle() and the host. */
#include "kiln.h"

#include "kiln_host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages are made of whatever went wrong, which need not be UTF-8. */
static kiln_string format_text(const char *format, va_list arguments) {
    kiln_buffer raw = {0}, text = {0};
    kiln_vput(&raw, format, arguments);
    kiln_put_utf8(&text, (kiln_string){raw.data, raw.length});
    free(raw.data);
    return (kiln_string){text.data, text.length};
}

/* The text between a function's `format` and its end. */
#define FORMATTED(text)                                \
    va_list arguments;                                 \
    va_start(arguments, format);                       \
    kiln_string text = format_text(format, arguments); \
    va_end(arguments)

kiln_answer kiln_ok(const char *json) {
    /* A copy: the host has the text freed, and what is given may be a literal. */
    kiln_buffer text = {0};
    kiln_put_bytes(&text, json, strlen(json));
    return (kiln_answer){.kind = KILN_OK, .text = {text.data, text.length}};
}

kiln_answer kiln_none(void) {
    return (kiln_answer){.kind = KILN_OK};
}

kiln_answer kiln_retry(const char *format, ...) {
    FORMATTED(text);
    return (kiln_answer){.kind = KILN_RETRY, .text = text};
}

kiln_answer kiln_retry_after(uint64_t ms, const char *format, ...) {
    FORMATTED(text);
    return (kiln_answer){.kind = KILN_RETRY_AFTER, .text = text, .after_ms = ms};
}

kiln_answer kiln_permanent(const char *format, ...) {
    FORMATTED(text);
    return (kiln_answer){.kind = KILN_PERMANENT, .text = text};
}

#ifdef __wasm__

void kiln_log(kiln_level level, const char *format, ...) {
    FORMATTED(text);
    job_handler_string_t context = {0};
    job_handler_string_t message = lend(text);
    wasi_logging_logging_log((wasi_logging_logging_level_t)level, &context, &message);
    free(text.data);
}

void kiln_progress(unsigned percent, const char *note) {
    kiln_buffer clean = {0};
    if (note != NULL) kiln_put_utf8(&clean, kiln_text(note));
    job_handler_string_t text = lend((kiln_string){clean.data, clean.length});
    kiln_job_context_progress(percent < 100 ? (uint8_t)percent : 100, note == NULL ? NULL : &text);
    free(clean.data);
}

uint64_t kiln_remaining_ms(void) {
    return kiln_job_context_remaining_ms();
}

bool kiln_is_cancelled(void) {
    return kiln_job_context_is_cancelled();
}

const char *kiln_config(const char *key) {
    job_handler_string_t name = lend(kiln_text(key));
    job_handler_option_string_t value;
    wasi_config_store_error_t error;
    if (!wasi_config_store_get(&name, &value, &error) || !value.is_some) return NULL;
    return take(value.val.ptr, value.val.len).data;
}

bool exports_kiln_job_handler_handle(exports_kiln_job_handler_job_t *given, job_handler_option_string_t *result,
                                     exports_kiln_job_handler_failure_t *failure) {
    /* A trap loses what is still buffered. */
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    kiln_job job = {
        .id = take(given->id.ptr, given->id.len),
        .name = take(given->name.ptr, given->name.len),
        .queue = take(given->queue.ptr, given->queue.len),
        .payload = take(given->payload.ptr, given->payload.len),
        .metadata = take(given->metadata.ptr, given->metadata.len),
        .attempt = given->attempt,
        .max_attempts = given->max_attempts,
        .created_at_ms = given->created_at_ms,
    };
    kiln_answer answer = handle(&job);
    fflush(stdout);
    job_handler_string_t text = lend(answer.text);
    switch (answer.kind) {
    case KILN_OK:
        *result = (job_handler_option_string_t){.is_some = answer.text.data != NULL, .val = text};
        return true;
    case KILN_RETRY:
        failure->tag = KILN_JOB_TYPES_FAILURE_RETRY;
        failure->val.retry = text;
        return false;
    case KILN_RETRY_AFTER:
        failure->tag = KILN_JOB_TYPES_FAILURE_RETRY_AFTER;
        failure->val.retry_after = (job_handler_tuple2_string_u64_t){text, answer.after_ms};
        return false;
    case KILN_PERMANENT:
        failure->tag = KILN_JOB_TYPES_FAILURE_PERMANENT;
        failure->val.permanent = text;
        return false;
    }
    abort();
}

#else

/* Nothing is freed, on purpose: the address sanitizer is to look for faults that are. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_leaks=0";
}

WEAK void kiln_log(kiln_level level, const char *format, ...) {
    static const char *const names[] = {"trace", "debug", "info", "warn", "error", "critical"};
    FORMATTED(text);
    fprintf(stderr, "%s: %s\n", names[level], text.data);
    free(text.data);
}

WEAK void kiln_progress(unsigned percent, const char *note) {
    fprintf(stderr, "progress: %u %% %s\n", percent, note == NULL ? "" : note);
}

WEAK uint64_t kiln_remaining_ms(void) {
    return 30000;
}

WEAK bool kiln_is_cancelled(void) {
    return false;
}

WEAK const char *kiln_config(const char *key) {
    (void)key;
    return NULL;
}

#endif
