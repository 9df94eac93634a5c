/*
 * Values that outlast an attempt, in the buckets that the operator grants ([grants.state.NAME] in the manifest).
 *
 *     kiln_bucket counts = {.name = "counts"};
 *     int64_t visits;
 *     if (!kiln_state_add(&counts, "visits", 1, &visits)) return kiln_state_failure(&counts);
 *
 * Values are JSON text, as in the kits of all languages: a handler in one reads what another has written. A number that is
 * added to is its decimal text. Keys have 1 to 512 bytes of UTF-8. A bucket that is not granted ends the attempt: the
 * handler never hears of it.
 *
 * Compiled for anything but WebAssembly, values are kept in memory, without bounds and without an end of their time. Those
 * functions are weak: a test may define its own.
 */
#ifndef KILN_STATE_H
#define KILN_STATE_H

#include "kiln.h"

typedef enum kiln_state_error {
    KILN_STATE_OK,
    KILN_STATE_INVALID,      /* a key that is empty or too long */
    KILN_STATE_CONFLICT,     /* there is a value already, or one of another version: nothing was changed */
    KILN_STATE_NOT_A_NUMBER, /* what was to be added to is no whole number, or the sum is none of 64 bits */
    KILN_STATE_TOO_LARGE,    /* a value is larger than the plugin's limits */
    KILN_STATE_TOO_MANY,     /* more calls than the plugin may make */
    KILN_STATE_FULL,         /* the bucket holds as many keys or bytes as it may */
    KILN_STATE_UNAVAILABLE,  /* it cannot be reached just now */
} kiln_state_error;

/* Begin with the name alone. */
typedef struct kiln_bucket {
    const char *name;
    kiln_state_error error; /* of the last call */
    const char *message;    /* what went wrong, in one line */
} kiln_bucket;

typedef struct kiln_value {
    kiln_string json; /* with `data` NULL where there is no value */
    uint64_t version; /* changes with the value */
} kiln_value;

typedef struct kiln_keys {
    kiln_string *list;
    size_t count;
} kiln_keys;

/* What all of these return: whether it was done. If not, look at the bucket's `error`. */

bool kiln_state_get(kiln_bucket *bucket, const char *key, kiln_value *value);
bool kiln_state_set(kiln_bucket *bucket, const char *key, kiln_string json);
bool kiln_state_delete(kiln_bucket *bucket, const char *key);

/* The value lasts for so many milliseconds; 0: as long as the bucket keeps values, and in no case longer. */
bool kiln_state_set_for(kiln_bucket *bucket, const char *key, kiln_string json, uint64_t ttl_ms);

/* The same for a key that has no value. KILN_STATE_CONFLICT: it has one. */
bool kiln_state_set_if_absent(kiln_bucket *bucket, const char *key, kiln_string json, uint64_t ttl_ms);

/* Sets a value that still has this version; `next`, if not NULL, is then the new one. KILN_STATE_CONFLICT: it has another. */
bool kiln_state_swap(kiln_bucket *bucket, const char *key, uint64_t version, kiln_string json, uint64_t *next);

/* Adds to a number, to 0 where there is none; `number`, if not NULL, is the sum. */
bool kiln_state_add(kiln_bucket *bucket, const char *key, int64_t by, int64_t *number);

/* Up to a thousand keys that begin with `prefix`, in the order of their bytes, after one of them if `after` is not NULL. */
bool kiln_state_keys(kiln_bucket *bucket, const char *prefix, const char *after, kiln_keys *keys);

/* Made with the job's acknowledgement: once, though the job may run twice, and not at all if the attempt fails. */
bool kiln_state_set_on_completion(kiln_bucket *bucket, const char *key, kiln_string json);
bool kiln_state_add_on_completion(kiln_bucket *bucket, const char *key, int64_t by);
bool kiln_state_delete_on_completion(kiln_bucket *bucket, const char *key);

/* What to answer when the last call of a bucket failed: retry. */
kiln_answer kiln_state_failure(const kiln_bucket *bucket);

/*
 * Does something once for a key, such as a job's id.
 *
 *     kiln_answer answer;
 *     if (kiln_once_begin(&charges, job->id.data, &answer)) {
 *         answer = kiln_once_end(&charges, job->id.data, charge(job));
 *     }
 *     return answer;
 *
 * kiln_once_begin() returns true where it is still to be done. If not, `answer` is what to answer: the result that it came
 * to before, or to be tried again while another attempt is at it. kiln_once_end() keeps a result; after a failure, and
 * where the result is no JSON, it may be done again.
 *
 * Where the worker dies between the two, it is done again once the attempt's time is over. Hand the key on to whatever is
 * called, if that knows such keys.
 */
bool kiln_once_begin(kiln_bucket *bucket, const char *key, kiln_answer *answer);
kiln_answer kiln_once_end(kiln_bucket *bucket, const char *key, kiln_answer answer);

#endif
