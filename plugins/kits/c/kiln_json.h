/*
 * Reads JSON without building a tree: a value is a slice of the text it stands in.
 *
 * A document is checked once, when it is opened; from then on every function here may be called on every value. The
 * first value that is not what was asked for is told of in the document's `error`, as in "items[2].price: expected a
 * 64-bit integer, found null". It reads as 0, false or "", and loops end. So read all that belongs together, then look
 * at `error` once.
 */
#ifndef KILN_JSON_H
#define KILN_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "kiln_text.h"

/* How many arrays and objects may be nested. */
#define KILN_JSON_DEPTH 128

typedef enum kiln_json_kind {
    KILN_JSON_NONE, /* a member that its object lacks */
    KILN_JSON_NULL,
    KILN_JSON_BOOL,
    KILN_JSON_NUMBER,
    KILN_JSON_STRING,
    KILN_JSON_ARRAY,
    KILN_JSON_OBJECT,
} kiln_json_kind;

typedef struct kiln_document {
    const char *error; /* what did not fit first, or NULL */
    kiln_string text;
} kiln_document;

typedef struct kiln_json {
    kiln_json_kind kind;
    const char *text; /* `length` bytes, as they stand in the document: numbers unrounded, strings in quotes */
    size_t length;
    kiln_document *document;
    const char *missing; /* the name, where there is no such member */
} kiln_json;

/* The value that a text holds. Text and document have to outlive it. */
kiln_json kiln_json_open(kiln_document *document, kiln_string text);

/* An object's member; where it has several of that name, the last. A missing one is no error until it is read. */
kiln_json kiln_json_get(kiln_json object, const char *name);

/*
 * The next item or member; begin with zeroed ones. False after the last.
 *
 *     for (kiln_json item = {0}; kiln_json_next(items, &item);) { … }
 */
bool kiln_json_next(kiln_json array, kiln_json *item);
bool kiln_json_next_member(kiln_json object, kiln_json *name, kiln_json *value);

/* The value as C has it. An integer is one that has neither fraction nor exponent, and fits. */
kiln_string kiln_json_string(kiln_json value);
int64_t kiln_json_int64(kiln_json value);
double kiln_json_double(kiln_json value);
bool kiln_json_bool(kiln_json value);

#endif
