/*
 * Text with a length, and text that grows.
 *
 * What the kit returns is allocated and need not be freed: every attempt runs in an instance of its own, which goes as
 * a whole. One that the manifest lets serve several (`reuse`) goes once it has grown by much. Where a handler reads a lot
 * of it, free() may be called on `data`.
 */
#ifndef KILN_TEXT_H
#define KILN_TEXT_H

#include <stdarg.h>
#include <stddef.h>

#define KILN_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* Text with a NUL after it, which `length` does not count. It may hold NULs too, as JSON's "\u0000" does. */
typedef struct kiln_string {
    char *data;
    size_t length;
} kiln_string;

/* A C string as one, not copied. */
kiln_string kiln_text(const char *text);

/* Text that grows. Begin with a zeroed one. */
typedef struct kiln_buffer {
    char *data; /* with a NUL after `length` bytes; NULL until something is put */
    size_t length;
    size_t capacity;
} kiln_buffer;

void kiln_put(kiln_buffer *buffer, const char *format, ...) KILN_PRINTF(2, 3);
void kiln_vput(kiln_buffer *buffer, const char *format, va_list arguments);
void kiln_put_bytes(kiln_buffer *buffer, const char *bytes, size_t length);

/* Puts a text as a JSON string, in quotes. What is not UTF-8 in it becomes U+FFFD. */
void kiln_put_json(kiln_buffer *buffer, kiln_string text);

/* Puts a text as it is, but for what is not UTF-8 in it: that becomes U+FFFD, since the host takes UTF-8 only. */
void kiln_put_utf8(kiln_buffer *buffer, kiln_string text);

#endif
