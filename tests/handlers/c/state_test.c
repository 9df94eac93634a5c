// What the kit keeps in memory outside Kiln, and what it does once. Run it in this folder by
//
//     cc -g -fsanitize=address,undefined state_test.c kiln/*.c -o /tmp/state_test && /tmp/state_test
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "kiln/kiln.h"

static bool is(kiln_string json, const char *wanted) {
    return json.data != NULL && strcmp(json.data, wanted) == 0;
}

static kiln_answer once(kiln_bucket *bucket, const char *key, kiln_answer outcome, int *calls) {
    kiln_answer answer;
    if (kiln_once_begin(bucket, key, &answer)) {
        ++*calls;
        answer = kiln_once_end(bucket, key, outcome);
    }
    return answer;
}

static void values_are_kept_by_bucket_and_key(void) {
    kiln_bucket seen = {.name = "seen"}, other = {.name = "other"};
    kiln_value value;
    uint64_t next;
    int64_t number;
    kiln_keys keys;
    assert(kiln_state_set(&seen, "b", kiln_text("7")));
    assert(kiln_state_get(&other, "b", &value) && value.json.data == NULL);
    assert(kiln_state_get(&seen, "b", &value) && is(value.json, "7"));
    assert(kiln_state_swap(&seen, "b", value.version, kiln_text("8"), &next) && next > value.version);
    assert(!kiln_state_swap(&seen, "b", value.version, kiln_text("9"), NULL) && seen.error == KILN_STATE_CONFLICT);
    assert(!kiln_state_set_if_absent(&seen, "b", kiln_text("1"), 0) && seen.error == KILN_STATE_CONFLICT);
    assert(kiln_state_add(&seen, "a", INT64_MAX - 1, NULL) && kiln_state_add(&seen, "a", 1, &number));
    assert(number == INT64_MAX);
    assert(!kiln_state_add(&seen, "a", 1, NULL) && seen.error == KILN_STATE_NOT_A_NUMBER);
    assert(kiln_state_set_on_completion(&seen, "c", kiln_text("\"tea\"")));
    assert(!kiln_state_add(&seen, "c", 1, NULL) && kiln_state_failure(&seen).kind == KILN_RETRY);
    assert(kiln_state_keys(&seen, "", NULL, &keys) && keys.count == 3);
    assert(kiln_state_keys(&seen, "", "b", &keys) && keys.count == 1 && is(keys.list[0], "c"));
    assert(kiln_state_delete(&seen, "b") && kiln_state_get(&seen, "b", &value) && value.json.data == NULL);
}

static void what_was_done_once_is_not_done_again_and_what_failed_is(void) {
    kiln_bucket charges = {.name = "charges"};
    kiln_value value;
    int calls = 0;
    assert(once(&charges, "1", kiln_retry("declined"), &calls).kind == KILN_RETRY);
    for (int i = 0; i < 2; i++) assert(is(once(&charges, "1", kiln_ok("{\"n\": [1]}"), &calls).text, "{\"n\": [1]}"));
    assert(calls == 2);
    for (int i = 0; i < 2; i++) assert(once(&charges, "2", kiln_none(), &calls).text.data == NULL);
    assert(calls == 3);
    assert(kiln_state_get(&charges, "1", &value) && is(value.json, "{\"done\":{\"n\": [1]}}"));

    assert(kiln_state_set(&charges, "3", kiln_text("\"under_way\"")));
    kiln_answer answer = once(&charges, "3", kiln_none(), &calls);
    assert(answer.kind == KILN_RETRY_AFTER && answer.after_ms == 10000);
    assert(kiln_state_set(&charges, "4", kiln_text("[1]")));
    assert(once(&charges, "4", kiln_none(), &calls).kind == KILN_PERMANENT);
    assert(calls == 3);

    assert(once(&charges, "5", kiln_ok("{\"cut"), &calls).kind == KILN_PERMANENT);
    assert(is(once(&charges, "5", kiln_ok("5"), &calls).text, "5"));
}

int main(void) {
    values_are_kept_by_bucket_and_key();
    what_was_done_once_is_not_done_again_and_what_failed_is();
    puts("ok");
}
