/* What the files of the kit share, for how they speak to the host. Nothing for handlers. */
#ifndef KILN_HOST_H
#define KILN_HOST_H

#include "kiln_text.h"

#ifdef __wasm__

#include <stdlib.h>

#include "job_handler.h"

#define WEAK

/* A text as the host reads it, not copied. */
static inline job_handler_string_t lend(kiln_string text) {
    return (job_handler_string_t){(uint8_t *)text.data, text.length};
}

/* Takes bytes of the host's over, and puts the NUL after them that it does not send. */
static inline kiln_string take(uint8_t *bytes, size_t length) {
    char *text = length == 0 ? calloc(1, 1) : realloc(bytes, length + 1);
    if (text == NULL) abort();
    text[length] = '\0';
    return (kiln_string){text, length};
}

#else

/* Of what a test may define anew. */
#define WEAK __attribute__((weak))

#endif
#endif
