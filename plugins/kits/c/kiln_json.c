/* A document is checked as a whole when it is opened. So what walks or reads it later trusts what it finds. */
#include "kiln_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- Walking: each function moves past something, and returns NULL where it is not there. --- */

static const char *skip_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

static const char *skip_word(const char *at, const char *end, const char *word) {
    size_t length = strlen(word);
    return (size_t)(end - at) >= length && memcmp(at, word, length) == 0 ? at + length : NULL;
}

static const char *skip_digits(const char *at, const char *end) {
    const char *start = at;
    while (at < end && *at >= '0' && *at <= '9') at++;
    return at > start ? at : NULL;
}

static const char *skip_number(const char *at, const char *end) {
    if (at < end && *at == '-') at++;
    at = at < end && *at == '0' ? at + 1 : skip_digits(at, end);
    if (at != NULL && at < end && *at == '.') at = skip_digits(at + 1, end);
    if (at != NULL && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        at = skip_digits(at, end);
    }
    return at;
}

/* The value of four hexadecimal digits, or -1. */
static long hex4(const char *at, const char *end) {
    if (end - at < 4) return -1;
    long value = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *digit = at[i] == '\0' ? NULL : strchr(digits, at[i]);
        if (digit == NULL) return -1;
        value = value * 16 + (digit - digits) % 16;
    }
    return value;
}

static const char *skip_string(const char *at, const char *end) {
    if (at == end || *at != '"') return NULL;
    for (at++; at < end && *at != '"'; at++) {
        if ((unsigned char)*at < 0x20) return NULL;
        if (*at != '\\') continue;
        at++;
        if (at == end || *at == '\0' || strchr("\"\\/bfnrtu", *at) == NULL) return NULL;
        if (*at == 'u' && hex4(at + 1, end) < 0) return NULL;
    }
    return at < end ? at + 1 : NULL;
}

static const char *skip_value(const char *at, const char *end, int depth);

/* Moves past a member's name and its colon. */
static const char *skip_name(const char *at, const char *end) {
    at = skip_string(at, end);
    if (at != NULL) at = skip_space(at, end);
    return at != NULL && at < end && *at == ':' ? skip_space(at + 1, end) : NULL;
}

static const char *skip_container(const char *at, const char *end, int depth) {
    bool object = *at == '{';
    char close = object ? '}' : ']';
    if (depth == 0) return NULL;
    at = skip_space(at + 1, end);
    if (at < end && *at == close) return at + 1;
    for (;;) {
        if (object) at = skip_name(at, end);
        if (at != NULL) at = skip_value(at, end, depth - 1);
        if (at != NULL) at = skip_space(at, end);
        if (at == NULL || at == end) return NULL;
        if (*at == close) return at + 1;
        if (*at != ',') return NULL;
        at = skip_space(at + 1, end);
    }
}

static const char *skip_value(const char *at, const char *end, int depth) {
    if (at == end) return NULL;
    switch (*at) {
    case '{': case '[': return skip_container(at, end, depth);
    case '"': return skip_string(at, end);
    case 't': return skip_word(at, end, "true");
    case 'f': return skip_word(at, end, "false");
    case 'n': return skip_word(at, end, "null");
    default: return skip_number(at, end);
    }
}

static kiln_json slice(kiln_document *document, const char *start, const char *end) {
    kiln_json_kind kind = *start == '{'                    ? KILN_JSON_OBJECT
                          : *start == '['                  ? KILN_JSON_ARRAY
                          : *start == '"'                  ? KILN_JSON_STRING
                          : *start == 't' || *start == 'f' ? KILN_JSON_BOOL
                          : *start == 'n'                  ? KILN_JSON_NULL
                                                           : KILN_JSON_NUMBER;
    return (kiln_json){.kind = kind, .text = start, .length = (size_t)(end - start), .document = document};
}

/* The item or member after the one in `value`, or the first where that is zeroed. */
static bool step(kiln_json container, kiln_json *name, kiln_json *value) {
    const char *end = container.text + container.length;
    const char *at = value->text == NULL ? container.text + 1 : value->text + value->length;
    at = skip_space(at, end);
    if (*at == ',') at = skip_space(at + 1, end);
    *name = *value = (kiln_json){0};
    if (*at == '}' || *at == ']') return false;
    if (container.kind == KILN_JSON_OBJECT) {
        *name = slice(container.document, at, skip_string(at, end));
        at = skip_name(at, end);
    }
    *value = slice(container.document, at, skip_value(at, end, KILN_JSON_DEPTH));
    return true;
}

/* --- What does not fit --- */

/* Where a value stands, as in `items[2].price`. It is found anew from the top, so that nothing has to keep it. */
static void put_path(kiln_buffer *out, kiln_json value) {
    kiln_string text = value.document->text;
    kiln_json at = slice(value.document, text.data, text.data + text.length);
    while (at.text != NULL && at.text < value.text) {
        kiln_json name = {0}, item = {0};
        size_t index = 0;
        while (step(at, &name, &item) && item.text + item.length <= value.text) index++;
        if (name.text == NULL) {
            kiln_put(out, "[%zu]", index);
        } else {
            kiln_put(out, "%s", out->length == 0 ? "" : ".");
            kiln_put_bytes(out, name.text + 1, name.length - 2);
        }
        at = item;
    }
    if (value.missing != NULL) kiln_put(out, "%s%s", out->length == 0 ? "" : ".", value.missing);
}

/* Has the document tell what a value is not, unless it has an earlier error to tell. */
static void refuse(kiln_json value, const char *expected, const char *found) {
    if (value.document == NULL || value.document->error != NULL) return;
    kiln_buffer out = {0};
    put_path(&out, value);
    kiln_put(&out, "%sexpected %s, found ", out.length == 0 ? "" : ": ", expected);
    if (found != NULL) {
        kiln_put(&out, "%s", found);
    } else {
        kiln_put_bytes(&out, value.text, value.length < 40 ? value.length : 40);
    }
    value.document->error = out.data;
}

/* Whether a value can be read as what it has to be. Nothing can any more after an error. */
static bool expect(bool fits, kiln_json value, const char *expected) {
    static const char *const kinds[] = {"nothing", "null", "a boolean", NULL, "a string", "an array", "an object"};
    if (!fits) refuse(value, expected, kinds[value.kind]);
    return fits && value.document->error == NULL;
}

/* --- Reading --- */

kiln_json kiln_json_open(kiln_document *document, kiln_string text) {
    const char *end = text.data + text.length;
    const char *start = skip_space(text.data, end);
    const char *stop = skip_value(start, end, KILN_JSON_DEPTH);
    if (stop == NULL || skip_space(stop, end) != end) {
        *document = (kiln_document){.error = "not JSON, or nested too deeply"};
        return (kiln_json){.document = document};
    }
    *document = (kiln_document){.text = {(char *)start, (size_t)(stop - start)}};
    return slice(document, start, stop);
}

bool kiln_json_next(kiln_json array, kiln_json *item) {
    kiln_json name;
    return expect(array.kind == KILN_JSON_ARRAY, array, "an array") && step(array, &name, item);
}

bool kiln_json_next_member(kiln_json object, kiln_json *name, kiln_json *value) {
    return expect(object.kind == KILN_JSON_OBJECT, object, "an object") && step(object, name, value);
}

/* The code point of a \u escape or of a pair of them, or -1. `at` moves on to its last digit. */
static long code_point(const char **at, const char *end) {
    long high = hex4(*at + 1, end);
    *at += 4;
    if (high < 0xd800 || high > 0xdfff) return high;
    if (high > 0xdbff || end - *at < 7 || (*at)[1] != '\\' || (*at)[2] != 'u') return -1;
    long low = hex4(*at + 3, end);
    *at += 6;
    return low < 0xdc00 || low > 0xdfff ? -1 : 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static char *put_code_point(char *out, long point) {
    if (point < 0x80) {
        *out++ = (char)point;
        return out;
    }
    int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    *out++ = (char)((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | point >> 6 * more);
    while (more-- > 0) *out++ = (char)(0x80 | (point >> 6 * more & 0x3f));
    return out;
}

/* The text of a string; its `data` is NULL where it has half of a surrogate pair. */
static kiln_string unescape(kiln_json string) {
    const char *end = string.text + string.length - 1;
    kiln_buffer text = {0};
    kiln_put_bytes(&text, string.text + 1, string.length - 2); /* no escape is shorter than what it stands for */
    char *out = text.data;
    for (const char *at = string.text + 1; at < end; at++) {
        if (*at != '\\') {
            *out++ = *at;
        } else if (*++at == 'u') {
            long point = code_point(&at, end);
            if (point < 0) {
                free(text.data);
                return (kiln_string){0};
            }
            out = put_code_point(out, point);
        } else {
            const char *letter = strchr("b\bf\fn\nr\rt\t", *at);
            *out++ = letter == NULL ? *at : letter[1];
        }
    }
    *out = '\0';
    return (kiln_string){text.data, (size_t)(out - text.data)};
}

static bool is_named(kiln_json string, const char *name) {
    bool plain = memchr(string.text, '\\', string.length) == NULL;
    kiln_string text = plain ? (kiln_string){(char *)string.text + 1, string.length - 2} : unescape(string);
    bool same = text.data != NULL && text.length == strlen(name) && memcmp(text.data, name, text.length) == 0;
    if (!plain) free(text.data);
    return same;
}

kiln_json kiln_json_get(kiln_json object, const char *name) {
    kiln_json found = {.text = object.text, .document = object.document, .missing = name};
    kiln_json key = {0}, value = {0};
    while (kiln_json_next_member(object, &key, &value)) {
        if (is_named(key, name)) found = value;
    }
    return found;
}

kiln_string kiln_json_string(kiln_json value) {
    if (!expect(value.kind == KILN_JSON_STRING, value, "a string")) return kiln_text("");
    kiln_string text = unescape(value);
    if (text.data == NULL) refuse(value, "a string", "half of a surrogate pair in it");
    return text.data == NULL ? kiln_text("") : text;
}

int64_t kiln_json_int64(kiln_json value) {
    int64_t number = 0;
    bool negative = value.length > 0 && *value.text == '-';
    bool fits = value.kind == KILN_JSON_NUMBER;
    /* Below zero, since the least has no counterpart above. */
    for (size_t i = negative; fits && i < value.length; i++) {
        int digit = value.text[i] - '0';
        fits = digit >= 0 && digit <= 9 && !__builtin_mul_overflow(number, 10, &number) &&
               !__builtin_sub_overflow(number, digit, &number);
    }
    if (fits && !negative) fits = !__builtin_sub_overflow(0, number, &number);
    return expect(fits, value, "a 64-bit integer") ? number : 0;
}

double kiln_json_double(kiln_json value) {
    if (!expect(value.kind == KILN_JSON_NUMBER, value, "a number")) return 0;
    kiln_buffer text = {0}; /* strtod wants a NUL */
    kiln_put_bytes(&text, value.text, value.length);
    double number = strtod(text.data, NULL);
    free(text.data);
    return expect(isfinite(number), value, "a number that a double can hold") ? number : 0;
}

bool kiln_json_bool(kiln_json value) {
    return expect(value.kind == KILN_JSON_BOOL, value, "a boolean") && *value.text == 't';
}
