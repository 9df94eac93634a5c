/* Text that grows, and what is UTF-8. */
#include "kiln_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

kiln_string kiln_text(const char *text) {
    return (kiln_string){(char *)text, strlen(text)};
}

/* Makes room for so many bytes and a NUL. */
static char *reserve(kiln_buffer *buffer, size_t length) {
    size_t needed = buffer->length + length + 1;
    if (needed > buffer->capacity) {
        size_t doubled = buffer->capacity * 2;
        buffer->capacity = needed > doubled ? needed : doubled;
        buffer->data = realloc(buffer->data, buffer->capacity);
        if (buffer->data == NULL) {
            fputs("out of memory\n", stderr);
            abort();
        }
    }
    return buffer->data + buffer->length;
}

void kiln_put_bytes(kiln_buffer *buffer, const char *bytes, size_t length) {
    char *end = reserve(buffer, length);
    memcpy(end, bytes, length);
    end[length] = '\0';
    buffer->length += length;
}

void kiln_vput(kiln_buffer *buffer, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length <= 0) return;
    vsnprintf(reserve(buffer, (size_t)length), (size_t)length + 1, format, arguments);
    buffer->length += (size_t)length;
}

void kiln_put(kiln_buffer *buffer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    kiln_vput(buffer, format, arguments);
    va_end(arguments);
}

/* How many bytes the character at the start of a text has, or 0 where it is not UTF-8. */
static size_t utf8(const unsigned char *at, size_t left) {
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
    if (length > left) return 0;
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
    }
    /* Longer than needed, half of a surrogate pair, or beyond the last code point. */
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f)) return 0;
    if ((at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f)) return 0;
    return length;
}

static void put_characters(kiln_buffer *buffer, kiln_string text, bool escaped) {
    if (text.length == 0) text = kiln_text(""); /* where there may be no data at all */
    size_t start = 0;                           /* of what is still to be put as it is */
    for (size_t at = 0; at < text.length;) {
        unsigned char byte = (unsigned char)text.data[at];
        size_t length = utf8((const unsigned char *)text.data + at, text.length - at);
        if (length > 0 && (!escaped || (byte >= 0x20 && byte != '"' && byte != '\\'))) {
            at += length;
            continue;
        }
        kiln_put_bytes(buffer, text.data + start, at - start);
        if (length == 0) {
            kiln_put(buffer, "\xef\xbf\xbd");
        } else if (byte == '\n') {
            kiln_put(buffer, "\\n");
        } else {
            kiln_put(buffer, byte < 0x20 ? "\\u%04x" : "\\%c", byte);
        }
        start = ++at;
    }
    kiln_put_bytes(buffer, text.data + start, text.length - start);
}

void kiln_put_utf8(kiln_buffer *buffer, kiln_string text) {
    put_characters(buffer, text, false);
}

void kiln_put_json(kiln_buffer *buffer, kiln_string text) {
    kiln_put_bytes(buffer, "\"", 1);
    put_characters(buffer, text, true);
    kiln_put_bytes(buffer, "\"", 1);
}
