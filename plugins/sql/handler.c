/*
 * Answers a question over the rows that come with it, by SQLite:
 *
 *     {"tables": {"orders": [{"id": 1, "total": 9.5}, …]}, "query": "select … where id = ?", "params": [1]}
 *
 * becomes {"columns": ["id", …], "rows": [[1, …], …]}. Integers stay exact, up to 64 bits. A table without rows has no
 * columns, so it is not there.
 *
 * The query may come from anyone: it can only read, and what it takes is bounded. What is wrong with it fails for good.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kiln/kiln.h"
#include "src/sqlite.h"
#include "src/tables.h"

#define MAX_ROWS 10000
#define MAX_RESULT_BYTES (3 << 20) /* the host takes 4 MiB by default */
#define MAX_VALUE_BYTES (2 << 20)  /* of a value, and of a row while it is worked on */
#define MAX_QUERY_BYTES (64 << 10)
#define MAX_HEAP_BYTES (32 << 20) /* of the 96 MiB that the manifest allows */

/* What is left when a query is given up, to say so. */
#define SPARE_MS 250

/* Steps of SQLite's machine between two looks at the clock: 40 µs as a rule, but a call of a function is one step. */
#define STEPS_BETWEEN_LOOKS 1000

/* With these, no query was found that overflows a stack of 64 KiB. */
#define MAX_EXPRESSION_DEPTH 100
#define MAX_PARSER_DEPTH 400

/* Why a query was interrupted. */
enum interrupt { NOT_INTERRUPTED, CANCELLED, TOO_LATE };

static int look(void *interrupt) {
    enum interrupt *why = interrupt;
    *why = kiln_is_cancelled() ? CANCELLED : kiln_remaining_ms() < SPARE_MS ? TOO_LATE : NOT_INTERRUPTED;
    return *why != NOT_INTERRUPTED;
}

static int allow_reading(void *state, int action, const char *a, const char *b, const char *c, const char *d) {
    (void)state, (void)a, (void)b, (void)c, (void)d;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_FUNCTION:
    case SQLITE_RECURSIVE: return SQLITE_OK;
    default: return SQLITE_DENY;
    }
}

/* From here on the database is at the mercy of whoever wrote the query. */
static void confine(sqlite3 *database, enum interrupt *interrupt) {
    sqlite3_limit(database, SQLITE_LIMIT_SQL_LENGTH, MAX_QUERY_BYTES);
    sqlite3_limit(database, SQLITE_LIMIT_EXPR_DEPTH, MAX_EXPRESSION_DEPTH);
    sqlite3_limit(database, SQLITE_LIMIT_PARSER_DEPTH, MAX_PARSER_DEPTH);
    sqlite3_limit(database, SQLITE_LIMIT_COMPOUND_SELECT, 50);
    sqlite3_limit(database, SQLITE_LIMIT_FUNCTION_ARG, 64);
    sqlite3_limit(database, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000);
    sqlite3_limit(database, SQLITE_LIMIT_VDBE_OP, 100000);
    sqlite3_limit(database, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_set_authorizer(database, allow_reading, NULL);
    sqlite3_progress_handler(database, STEPS_BETWEEN_LOOKS, look, interrupt);
}

/* Puts a double so that it is read back as the same, and as a double. */
static void put_double(kiln_buffer *out, double number) {
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        sqlite3_snprintf(sizeof text, text, "%!.*g", digits, number);
        if (strtod(text, NULL) == number) break;
    }
    kiln_put(out, "%s", text);
}

/* Puts a value of a row. Returns what is wrong with it, or NULL. */
static const char *put_value(kiln_buffer *out, sqlite3_stmt *statement, int column) {
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
        kiln_put(out, "%" PRId64, (int64_t)sqlite3_column_int64(statement, column));
        return NULL;
    case SQLITE_FLOAT: {
        double number = sqlite3_column_double(statement, column);
        if (!isfinite(number)) return "an infinite number";
        put_double(out, number);
        return NULL;
    }
    case SQLITE_TEXT: {
        char *text = (char *)sqlite3_column_text(statement, column);
        if (text == NULL) return "too large a text";
        kiln_put_json(out, (kiln_string){text, (size_t)sqlite3_column_bytes(statement, column)});
        return NULL;
    }
    case SQLITE_NULL: kiln_put(out, "null"); return NULL;
    default: return "a blob: ask for its hex()";
    }
}

static kiln_answer refused(sqlite3 *database, enum interrupt interrupt) {
    if (interrupt == CANCELLED) return kiln_retry("the host is shutting down");
    if (interrupt == TOO_LATE) return kiln_permanent("query: takes too long");
    if (sqlite3_errcode(database) == SQLITE_AUTH) return kiln_permanent("query: only reading is allowed");
    return kiln_permanent("query: %s", sqlite3_errmsg(database));
}

static kiln_answer run(sqlite3 *database, sqlite3_stmt *statement, const enum interrupt *interrupt) {
    kiln_buffer out = {0};
    int columns = sqlite3_column_count(statement), rows = 0, code;
    for (int i = 0; i < columns; i++) {
        kiln_put(&out, i == 0 ? "{\"columns\": [" : ", ");
        kiln_put_json(&out, kiln_text(sqlite3_column_name(statement, i)));
    }
    kiln_put(&out, "], \"rows\": [");
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        if (rows == MAX_ROWS) return kiln_permanent("query: more than %d rows; give it a limit", MAX_ROWS);
        kiln_put(&out, rows++ == 0 ? "[" : ", [");
        for (int i = 0; i < columns; i++) {
            if (i > 0) kiln_put(&out, ", ");
            const char *wrong = put_value(&out, statement, i);
            const char *name = sqlite3_column_name(statement, i);
            if (wrong != NULL) return kiln_permanent("query: column %s holds what JSON cannot, %s", name, wrong);
            if (out.length > MAX_RESULT_BYTES) return kiln_permanent("query: the result is larger than 3 MiB");
        }
        kiln_put(&out, "]");
    }
    if (code != SQLITE_DONE) return refused(database, *interrupt);
    kiln_put(&out, "]}");
    kiln_log(KILN_DEBUG, "%d rows", rows);
    return kiln_ok(out.data);
}

kiln_answer handle(const kiln_job *job) {
    kiln_document document;
    kiln_json payload = kiln_json_open(&document, job->payload);
    kiln_string query = kiln_json_string(kiln_json_get(payload, "query"));
    kiln_json params = kiln_json_get(payload, "params");
    sqlite3 *database;
    sqlite3_hard_heap_limit64(MAX_HEAP_BYTES);
    if (sqlite3_open(":memory:", &database) != SQLITE_OK) return kiln_retry("cannot open a database");
    sqlite3_limit(database, SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES);
    const char *error = load_tables(database, kiln_json_get(payload, "tables"));
    if (document.error) return kiln_permanent("payload: %s", document.error);
    if (error) return kiln_permanent("payload: tables: %s", error);

    enum interrupt interrupt = NOT_INTERRUPTED;
    confine(database, &interrupt);
    sqlite3_stmt *statement = NULL, *second = NULL;
    const char *rest;
    int code = sqlite3_prepare_v2(database, query.data, (int)query.length, &statement, &rest);
    if (code != SQLITE_OK) return refused(database, interrupt);
    if (statement == NULL) return kiln_permanent("query: there is none");
    if (sqlite3_column_count(statement) == 0) return kiln_permanent("query: only reading is allowed");
    code = sqlite3_prepare_v2(database, rest, -1, &second, NULL);
    if (code != SQLITE_OK || second != NULL) return kiln_permanent("query: more than one statement");

    int given = 0, wanted = sqlite3_bind_parameter_count(statement);
    if (params.kind != KILN_JSON_NONE) {
        for (kiln_json param = {0}; kiln_json_next(params, &param);) {
            if (++given <= wanted) bind_value(statement, given, param);
        }
    }
    if (document.error) return kiln_permanent("payload: %s", document.error);
    if (given != wanted) return kiln_permanent("payload: params: the query takes %d, and there are %d", wanted, given);
    return run(database, statement, &interrupt);
}
