// What the kit makes of an answer. Run it in this folder by
//
//     cc -g -fsanitize=address,undefined http_test.c kiln/*.c -o /tmp/http_test && /tmp/http_test
#undef NDEBUG
#include <assert.h>
#include <stdio.h>

#include "kiln/kiln.h"

/* What becomes of a job that was answered so. */
static kiln_answer answered(uint16_t status, const char *retry_after) {
    kiln_http_header header = {"retry-after", retry_after};
    kiln_http_response response = {.status = status, .headers = &header, .header_count = retry_after != NULL};
    kiln_answer answer = {0};
    kiln_check_status(&response, &answer);
    return answer;
}

static void only_429_and_503_are_followed_in_their_time(void) {
    for (uint16_t status = 400; status < 600; status++) {
        bool is_later = status == 429 || status == 503;
        bool may_pass = is_later || status == 408 || status == 425 || status >= 500;
        kiln_answer_kind wanted = is_later ? KILN_RETRY_AFTER : may_pass ? KILN_RETRY : KILN_PERMANENT;
        assert(answered(status, "7").kind == wanted);
    }
    assert(answered(429, NULL).kind == KILN_RETRY);
}

static void a_time_is_seconds_or_a_date(void) {
    struct {
        const char *text;
        uint64_t ms;
    } cases[] = {
        {"0", 0},
        {"7", 7000},
        {"9999999999", 9999999999000},
        {"99999999999999999999", UINT64_MAX},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kiln_answer answer = answered(503, cases[i].text);
        assert(answer.kind == KILN_RETRY_AFTER && answer.after_ms == cases[i].ms);
    }
    const char *neither[] = {"-7", "+7", "", "7 s", "0x7", "soon"};
    for (size_t i = 0; i < sizeof neither / sizeof *neither; i++) assert(answered(503, neither[i]).kind == KILN_RETRY);
}

int main(void) {
    only_429_and_503_are_followed_in_their_time();
    a_time_is_seconds_or_a_date();
    puts("ok");
}
