/* Values over the host's buckets, and what is done once. */
#include "kiln_state.h"

#include "kiln_host.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* How many keys are asked for at once: as many as the host lists. */
#define KEYS 1000

/* How long an attempt waits that finds what it is to do once under way in another. */
#define UNDER_WAY_MS 10000

/* A change, as the contract has it; the numbers of what it does and asks for are the contract's. */
typedef struct change {
    const char *key;
    enum { SET, DELETE, ADD } action;
    kiln_string json;
    int64_t by;
    enum { ALWAYS, ABSENT, VERSION } condition;
    uint64_t version;
    uint64_t ttl_ms; /* 0: none */
} change;

typedef struct changed {
    uint64_t version;
    int64_t number;
} changed;

static bool failed(kiln_bucket *bucket, kiln_state_error error, const char *message) {
    bucket->error = error;
    bucket->message = message;
    return false;
}

static bool succeeded(kiln_bucket *bucket) {
    bucket->error = KILN_STATE_OK;
    bucket->message = "";
    return true;
}

static bool host_write(kiln_bucket *bucket, const change *made, changed *became);
static bool host_write_on_completion(kiln_bucket *bucket, const change *made);

WEAK bool kiln_state_set(kiln_bucket *bucket, const char *key, kiln_string json) {
    return kiln_state_set_for(bucket, key, json, 0);
}

WEAK bool kiln_state_set_for(kiln_bucket *bucket, const char *key, kiln_string json, uint64_t ttl_ms) {
    changed became;
    return host_write(bucket, &(change){.key = key, .action = SET, .json = json, .ttl_ms = ttl_ms}, &became);
}

WEAK bool kiln_state_set_if_absent(kiln_bucket *bucket, const char *key, kiln_string json, uint64_t ttl_ms) {
    change set = {.key = key, .action = SET, .json = json, .condition = ABSENT, .ttl_ms = ttl_ms};
    changed became;
    return host_write(bucket, &set, &became);
}

WEAK bool kiln_state_swap(kiln_bucket *bucket, const char *key, uint64_t version, kiln_string json, uint64_t *next) {
    change set = {.key = key, .action = SET, .json = json, .condition = VERSION, .version = version};
    changed became;
    if (!host_write(bucket, &set, &became)) return false;
    if (next != NULL) *next = became.version;
    return true;
}

WEAK bool kiln_state_add(kiln_bucket *bucket, const char *key, int64_t by, int64_t *number) {
    changed became;
    if (!host_write(bucket, &(change){.key = key, .action = ADD, .by = by}, &became)) return false;
    if (number != NULL) *number = became.number;
    return true;
}

WEAK bool kiln_state_delete(kiln_bucket *bucket, const char *key) {
    changed became;
    return host_write(bucket, &(change){.key = key, .action = DELETE}, &became);
}

WEAK bool kiln_state_set_on_completion(kiln_bucket *bucket, const char *key, kiln_string json) {
    return host_write_on_completion(bucket, &(change){.key = key, .action = SET, .json = json});
}

WEAK bool kiln_state_add_on_completion(kiln_bucket *bucket, const char *key, int64_t by) {
    return host_write_on_completion(bucket, &(change){.key = key, .action = ADD, .by = by});
}

WEAK bool kiln_state_delete_on_completion(kiln_bucket *bucket, const char *key) {
    return host_write_on_completion(bucket, &(change){.key = key, .action = DELETE});
}

kiln_answer kiln_state_failure(const kiln_bucket *bucket) {
    return kiln_retry("state: %s", bucket->message);
}

/* What stands in a bucket is "under_way" or {"done": RESULT}, in every kit. */

/* What a result that was kept is as an answer. */
static kiln_answer done_before(const char *key, kiln_string json) {
    kiln_document document;
    kiln_json kept = kiln_json_open(&document, json);
    if (!document.error && kept.kind == KILN_JSON_STRING && strcmp(kiln_json_string(kept).data, "under_way") == 0) {
        return kiln_retry_after(UNDER_WAY_MS, "another attempt is at \"%s\"", key);
    }
    kiln_json result = kiln_json_get(kept, "done");
    if (!document.error && result.kind == KILN_JSON_NONE) document.error = "it is not of what is done once";
    if (document.error) return kiln_permanent("state: the value of \"%s\": %s", key, document.error);
    if (result.kind == KILN_JSON_NULL) return kiln_none();
    kiln_buffer text = {0};
    kiln_put_bytes(&text, result.text, result.length);
    return kiln_ok(text.data);
}

bool kiln_once_begin(kiln_bucket *bucket, const char *key, kiln_answer *answer) {
    /* The claim lasts longer than this attempt can, so that no other begins while it is at work. */
    if (kiln_state_set_if_absent(bucket, key, kiln_text("\"under_way\""), kiln_remaining_ms() + 1000)) return true;
    kiln_value value;
    if (bucket->error != KILN_STATE_CONFLICT || !kiln_state_get(bucket, key, &value)) {
        *answer = kiln_state_failure(bucket);
    } else if (value.json.data == NULL) {
        *answer = kiln_retry_after(UNDER_WAY_MS, "another attempt is at \"%s\"", key);
    } else {
        *answer = done_before(key, value.json);
    }
    return false;
}

kiln_answer kiln_once_end(kiln_bucket *bucket, const char *key, kiln_answer answer) {
    kiln_string result = answer.text.data != NULL ? answer.text : kiln_text("null");
    kiln_document document = {0};
    if (answer.kind == KILN_OK) kiln_json_open(&document, result);
    if (document.error) answer = kiln_permanent("state: the value of \"%s\": %s", key, document.error);
    if (answer.kind != KILN_OK) {
        /* A claim that cannot be deleted ends by itself. What went wrong before is what has to be told. */
        kiln_state_delete(bucket, key);
        return answer;
    }
    kiln_buffer done = {0};
    kiln_put(&done, "{\"done\":");
    kiln_put_bytes(&done, result.data, result.length);
    kiln_put(&done, "}");
    return kiln_state_set(bucket, key, (kiln_string){done.data, done.length}) ? answer : kiln_state_failure(bucket);
}

#ifdef __wasm__

static bool host_failed(kiln_bucket *bucket, kiln_state_values_error_t *error) {
    /* The kinds are in the order of the contract's, after KILN_STATE_OK. */
    return failed(bucket, (kiln_state_error)(error->kind + 1), take(error->message.ptr, error->message.len).data);
}

static kiln_state_values_change_t lowered(const change *made) {
    kiln_state_values_change_t change = {
        .key = lend(kiln_text(made->key)),
        .action = {.tag = (uint8_t)made->action},
        .condition = {.tag = (uint8_t)made->condition, .val.version = made->version},
        .ttl_ms = {.is_some = made->ttl_ms > 0, .val = made->ttl_ms},
    };
    if (made->action == ADD) {
        change.action.val.add = made->by;
    } else {
        change.action.val.set = (job_handler_list_u8_t){(uint8_t *)made->json.data, made->json.length};
    }
    return change;
}

static bool host_write(kiln_bucket *bucket, const change *made, changed *became) {
    job_handler_string_t name = lend(kiln_text(bucket->name));
    kiln_state_values_change_t change = lowered(made);
    kiln_state_values_list_change_t changes = {&change, 1};
    kiln_state_values_list_changed_t written;
    kiln_state_values_error_t error;
    if (!kiln_state_values_write(&name, &changes, &written, &error)) return host_failed(bucket, &error);
    *became = (struct changed){written.ptr[0].version, written.ptr[0].number};
    free(written.ptr);
    return succeeded(bucket);
}

static bool host_write_on_completion(kiln_bucket *bucket, const change *made) {
    job_handler_string_t name = lend(kiln_text(bucket->name));
    kiln_state_values_change_t change = lowered(made);
    kiln_state_values_list_change_t changes = {&change, 1};
    kiln_state_values_error_t error;
    if (!kiln_state_values_write_on_completion(&name, &changes, &error)) return host_failed(bucket, &error);
    return succeeded(bucket);
}

bool kiln_state_get(kiln_bucket *bucket, const char *key, kiln_value *value) {
    job_handler_string_t name = lend(kiln_text(bucket->name)), lent = lend(kiln_text(key));
    job_handler_list_string_t keys = {&lent, 1};
    kiln_state_values_list_option_entry_t found;
    kiln_state_values_error_t error;
    *value = (kiln_value){0};
    if (!kiln_state_values_get(&name, &keys, &found, &error)) return host_failed(bucket, &error);
    if (found.ptr[0].is_some) {
        kiln_state_values_entry_t entry = found.ptr[0].val;
        *value = (kiln_value){take(entry.value.ptr, entry.value.len), entry.version};
    }
    free(found.ptr);
    return succeeded(bucket);
}

bool kiln_state_keys(kiln_bucket *bucket, const char *prefix, const char *after, kiln_keys *keys) {
    job_handler_string_t name = lend(kiln_text(bucket->name)), begin = lend(kiln_text(prefix)), last = {0};
    if (after != NULL) last = lend(kiln_text(after));
    job_handler_list_string_t found;
    kiln_state_values_error_t error;
    *keys = (kiln_keys){0};
    if (!kiln_state_values_list_keys(&name, &begin, after != NULL ? &last : NULL, KEYS, &found, &error)) {
        return host_failed(bucket, &error);
    }
    *keys = (kiln_keys){calloc(found.len + 1, sizeof *keys->list), found.len};
    if (keys->list == NULL) abort();
    for (size_t i = 0; i < found.len; i++) keys->list[i] = take(found.ptr[i].ptr, found.ptr[i].len);
    free(found.ptr);
    return succeeded(bucket);
}

#else

/* Stands in for the host, in the order of buckets and keys. */
static struct entry {
    const char *bucket, *key;
    kiln_value value;
} *entries;
static size_t entry_count;
static uint64_t last_version;

static char *copied(const char *text, size_t length) {
    kiln_buffer copy = {0};
    kiln_put_bytes(&copy, text, length);
    return copy.data;
}

/* Where an entry is, or would have to be. */
static size_t place(const char *bucket, const char *key, bool *found) {
    size_t at = 0;
    int order = -1;
    for (; at < entry_count; at++) {
        order = strcmp(entries[at].bucket, bucket);
        if (order == 0) order = strcmp(entries[at].key, key);
        if (order >= 0) break;
    }
    *found = order == 0;
    return at;
}

static bool differs(kiln_bucket *bucket, kiln_state_error error) {
    return failed(bucket, error, "the value is not as the change expects it");
}

static bool host_write(kiln_bucket *bucket, const change *made, changed *became) {
    bool found;
    size_t at = place(bucket->name, made->key, &found);
    kiln_value old = found ? entries[at].value : (kiln_value){.json = kiln_text("0")};
    bool holds = made->condition == ALWAYS || (made->condition == ABSENT ? !found : found && old.version == made->version);
    if (!holds) return differs(bucket, KILN_STATE_CONFLICT);
    *became = (changed){0};
    if (made->action == DELETE) {
        if (found) memmove(&entries[at], &entries[at + 1], (--entry_count - at) * sizeof *entries);
        return succeeded(bucket);
    }
    kiln_buffer json = {0};
    if (made->action == ADD) {
        kiln_document document;
        int64_t number = kiln_json_int64(kiln_json_open(&document, old.json));
        if (document.error || __builtin_add_overflow(number, made->by, &became->number)) {
            return differs(bucket, KILN_STATE_NOT_A_NUMBER);
        }
        kiln_put(&json, "%" PRId64, became->number);
    } else {
        kiln_put_bytes(&json, made->json.data, made->json.length);
    }
    if (!found) {
        entries = realloc(entries, (entry_count + 1) * sizeof *entries);
        if (entries == NULL) abort();
        memmove(&entries[at + 1], &entries[at], (entry_count++ - at) * sizeof *entries);
        entries[at].bucket = copied(bucket->name, strlen(bucket->name));
        entries[at].key = copied(made->key, strlen(made->key));
    }
    became->version = ++last_version;
    entries[at].value = (kiln_value){{json.data, json.length}, became->version};
    return succeeded(bucket);
}

/* A test's call of a handler is taken for a job that is acknowledged. */
static bool host_write_on_completion(kiln_bucket *bucket, const change *made) {
    changed became;
    return host_write(bucket, made, &became);
}

WEAK bool kiln_state_get(kiln_bucket *bucket, const char *key, kiln_value *value) {
    bool found;
    size_t at = place(bucket->name, key, &found);
    *value = (kiln_value){0};
    if (found) {
        kiln_value kept = entries[at].value;
        *value = (kiln_value){{copied(kept.json.data, kept.json.length), kept.json.length}, kept.version};
    }
    return succeeded(bucket);
}

WEAK bool kiln_state_keys(kiln_bucket *bucket, const char *prefix, const char *after, kiln_keys *keys) {
    *keys = (kiln_keys){calloc(KEYS, sizeof *keys->list), 0};
    if (keys->list == NULL) abort();
    for (size_t i = 0; i < entry_count && keys->count < KEYS; i++) {
        const char *key = entries[i].key;
        bool listed = strcmp(entries[i].bucket, bucket->name) == 0 && strncmp(key, prefix, strlen(prefix)) == 0;
        if (listed && (after == NULL || strcmp(key, after) > 0)) {
            keys->list[keys->count++] = (kiln_string){copied(key, strlen(key)), strlen(key)};
        }
    }
    return succeeded(bucket);
}

#endif
