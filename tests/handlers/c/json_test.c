// What the kit reads and writes as JSON. Run it in this folder by
//
//     cc -g -fsanitize=address,undefined json_test.c kiln/*.c -o /tmp/json_test && /tmp/json_test
//
// Each text lies in a block of just its size, so that a read beyond it is seen.
#undef NDEBUG
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kiln/kiln_json.h"

static kiln_document document;

/* A text without a NUL after it. Blocks are left to the end of the program, because values point into them. */
static kiln_string block(const char *text, size_t length) {
    char *data = malloc(length == 0 ? 1 : length);
    assert(data != NULL);
    return (kiln_string){memcpy(data, text, length), length};
}

static kiln_json open_text(const char *text) {
    return kiln_json_open(&document, block(text, strlen(text)));
}

/* Reads all that is in a value, in every way there is. */
static void visit(kiln_json value) {
    if (value.kind == KILN_JSON_NONE) return;
    kiln_json item = {0}, name = {0};
    kiln_json_string(value);
    kiln_json_int64(value);
    kiln_json_double(value);
    kiln_json_bool(value);
    document.error = NULL;
    if (value.kind == KILN_JSON_ARRAY) {
        while (kiln_json_next(value, &item)) visit(item);
    } else if (value.kind == KILN_JSON_OBJECT) {
        while (kiln_json_next_member(value, &name, &item)) {
            visit(name);
            visit(item);
        }
    }
    kiln_json_int64(kiln_json_get(value, "n"));
    document.error = NULL;
}

static void takes_json_and_nothing_else(void) {
    const char *good[] = {
        "0", "-0", "10", "-1.5e+10", "1E5", "0.0", "\"\"", "\"\\u0000\"", "\"\\ud800\"", "true", "false",
        "null", "[]", "{}", " [ ] ", "[[],{}]", "{\"\":0}", "{\"a\":1,\"a\":2}", "\t\n\r [1 , 2 ]\n",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\x7f\"",
    };
    const char *bad[] = {
        "", " ", "01", "-", "+1", ".5", "1.", "1e", "1e+", "0x1", "-a", "NaN", "tru", "truex", "nul", "'a'",
        "\"", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\n\"", "\"\\", "\"\\u", "[", "]", "[1",
        "[1,", "[1,]", "[,1]", "[1 2]", "{", "{\"", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,",
        "{\"a\":1,}", "{1:2}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "[1}", "{\"a\":1]", "1 2", "[] []", "//",
        "[1]x",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert(open_text(good[i]).kind != KILN_JSON_NONE && document.error == NULL);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert(open_text(bad[i]).kind == KILN_JSON_NONE && document.error != NULL);
    }
}

static void bounds_how_deep_it_goes(void) {
    char text[2 * KILN_JSON_DEPTH + 3];
    for (int depth = KILN_JSON_DEPTH; depth <= KILN_JSON_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        assert((open_text(text).kind == KILN_JSON_ARRAY) == (depth == KILN_JSON_DEPTH));
    }
    size_t length = 10000000;
    char *deep = malloc(length);
    assert(deep != NULL);
    memset(deep, '[', length);
    assert(kiln_json_open(&document, (kiln_string){deep, length}).kind == KILN_JSON_NONE);
    free(deep);
}

static void reads_strings(void) {
    struct {
        const char *json;
        const char *text;
        size_t length;
    } cases[] = {
        {"\"\"", "", 0},
        {"\"a\\u0000b\"", "a\0b", 3},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
        {"\"\\u007f\\u0080\\u07FF\\u0800\\uffff\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 11},
        {"\"\\ud800\\udc00\\uDBFF\\uDFFF\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8},
        {"\"\xf0\x9f\x98\x80\"", "\xf0\x9f\x98\x80", 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kiln_string text = kiln_json_string(open_text(cases[i].json));
        assert(document.error == NULL && text.length == cases[i].length);
        assert(memcmp(text.data, cases[i].text, text.length + 1) == 0);
    }
    const char *halves[] = {
        "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\ud800\"", "\"\\ud800x\"", "\"\\ud800\\n\"",
        "\"\\udc00\\ud800\"",
    };
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        assert(kiln_json_string(open_text(halves[i])).length == 0);
        assert(strcmp(document.error, "expected a string, found half of a surrogate pair in it") == 0);
    }
}

static void reads_numbers(void) {
    struct {
        const char *json;
        int64_t number;
        bool fits;
    } cases[] = {
        {"0", 0, true}, {"-0", 0, true}, {"9007199254740993", 9007199254740993, true},
        {"9223372036854775807", INT64_MAX, true}, {"-9223372036854775808", INT64_MIN, true},
        {"9223372036854775808", 0, false}, {"-9223372036854775809", 0, false}, {"18446744073709551616", 0, false},
        {"1.0", 0, false}, {"1e3", 0, false}, {"\"1\"", 0, false}, {"null", 0, false}, {"true", 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert(kiln_json_int64(open_text(cases[i].json)) == cases[i].number);
        assert((document.error == NULL) == cases[i].fits);
    }
    assert(kiln_json_double(open_text("-1.25e2")) == -125 && document.error == NULL);
    assert(kiln_json_double(open_text("5e-324")) > 0 && document.error == NULL);
    assert(kiln_json_double(open_text("1e400")) == 0 && document.error != NULL);
    assert(kiln_json_bool(open_text("true")) && !kiln_json_bool(open_text("false")) && document.error == NULL);
    assert(!kiln_json_bool(open_text("1")) && document.error != NULL);
}

static void finds_members(void) {
    kiln_json object = open_text("{\"a\": 1, \"\\u0062\": [2], \"a\": {\"x\": 3}, \"\\ud800\": 4, \"\": 5}");
    assert(kiln_json_int64(kiln_json_get(kiln_json_get(object, "a"), "x")) == 3);
    assert(kiln_json_int64(kiln_json_get(object, "")) == 5);
    kiln_json b = kiln_json_get(object, "b");
    assert(b.length == 3 && memcmp(b.text, "[2]", 3) == 0);
    assert(kiln_json_get(object, "c").kind == KILN_JSON_NONE && document.error == NULL);
}

static void says_where_something_does_not_fit(void) {
    const char *text = " {\"a\": [1, {\"b.c\": \"x\", \"d\": [[], [null]]}], \"e\": 12345678901234567890}";
    kiln_json top = open_text(text);
    kiln_json a = kiln_json_get(top, "a"), item = {0}, none = {0};
    assert(kiln_json_next(a, &item) && kiln_json_next(a, &item));
    kiln_json_int64(kiln_json_get(item, "b.c"));
    assert(strcmp(document.error, "a[1].b.c: expected a 64-bit integer, found a string") == 0);
    assert(!kiln_json_next(a, &none) && kiln_json_int64(kiln_json_get(top, "e")) == 0);
    assert(strncmp(document.error, "a[1].b.c", 8) == 0);

    document.error = NULL;
    kiln_json d = kiln_json_get(item, "d"), inner = {0}, leaf = {0};
    assert(kiln_json_next(d, &inner) && kiln_json_next(d, &inner) && kiln_json_next(inner, &leaf));
    kiln_json_bool(leaf);
    assert(strcmp(document.error, "a[1].d[1][0]: expected a boolean, found null") == 0);

    document.error = NULL;
    kiln_json_string(kiln_json_get(item, "f"));
    assert(strcmp(document.error, "a[1].f: expected a string, found nothing") == 0);

    document.error = NULL;
    kiln_json_int64(kiln_json_get(top, "e"));
    assert(strcmp(document.error, "e: expected a 64-bit integer, found 12345678901234567890") == 0);

    kiln_json_get(open_text("[]"), "a");
    assert(strcmp(document.error, "expected an object, found an array") == 0);
}

static void writes_strings(void) {
    kiln_buffer out = {0};
    kiln_put_json(&out, (kiln_string){"a\0\"\\\n\x1f\xc3\xa9", 8});
    assert(strcmp(out.data, "\"a\\u0000\\\"\\\\\\n\\u001f\xc3\xa9\"") == 0);
    const char *broken[] = {
        "\xff", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x9f\x98",
        "\x80",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        kiln_buffer clean = {0};
        size_t length = strlen(broken[i]);
        kiln_put_utf8(&clean, block(broken[i], length));
        assert(clean.length == 3 * length && strncmp(clean.data, "\xef\xbf\xbd", 3) == 0);
    }
}

/* Texts that are almost JSON: cut short, with a byte changed, or with a piece of another one. */
static void survives_what_is_almost_json(unsigned rounds) {
    const char *seed =
        "{\"n\": [1, -2.5e3, {\"\\u0061\\ud83d\\ude00\": \"b\\\"\", \"n\": null}]"
        ", \"c\": [true, false, [[]], {}], \"n\": 0}";
    const char *pieces = "{}[]\",:\\u0d8nte1.-+ \x01\xff";
    uint32_t state = 1;
    for (unsigned round = 0; round < rounds; round++) {
        kiln_string text = block(seed, strlen(seed));
        for (unsigned changes = 0; changes < 1 + round % 4; changes++) {
            state = state * 1664525 + 1013904223;
            if (state >> 30 == 0) text.length = (state >> 8) % (text.length + 1);
            if (text.length > 0) text.data[(state >> 8) % text.length] = pieces[(state >> 20) % strlen(pieces)];
        }
        kiln_string exact = block(text.data, text.length);
        visit(kiln_json_open(&document, exact));
        free(exact.data);
        free(text.data);
    }
}

int main(int count, char **arguments) {
    takes_json_and_nothing_else();
    bounds_how_deep_it_goes();
    reads_strings();
    reads_numbers();
    finds_members();
    says_where_something_does_not_fit();
    writes_strings();
    survives_what_is_almost_json(count > 1 ? (unsigned)atoi(arguments[1]) : 20000);
    puts("ok");
}
