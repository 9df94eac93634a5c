/* Tables made from JSON. A column has no type: each value keeps its own. */
#include "tables.h"

#include <stdlib.h>
#include <string.h>

/* The columns of one table. */
struct columns {
    kiln_string names[MAX_COLUMNS];
    int count;
};

static bool same(kiln_string a, kiln_string b) {
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

/* The number of a column, or -1. Most rows have the same names in the same order: the search starts at `expected`. */
static int find_column(const struct columns *columns, kiln_string name, int expected) {
    for (int i = 0; i < columns->count; i++) {
        int column = (expected + i) % columns->count;
        if (same(columns->names[column], name)) return column;
    }
    return -1;
}

/* SQLite ends a name at a NUL, so that two of them could become the same. */
static bool has_nul(kiln_string name) {
    return strlen(name.data) != name.length;
}

static const char *find_columns(kiln_json rows, struct columns *columns) {
    columns->count = 0;
    for (kiln_json row = {0}; kiln_json_next(rows, &row);) {
        kiln_json name = {0}, value = {0};
        for (int expected = 0; kiln_json_next_member(row, &name, &value); expected++) {
            kiln_string text = kiln_json_string(name);
            if (find_column(columns, text, expected) >= 0) {
                if (text.length > 0) free(text.data);
                continue;
            }
            if (has_nul(text)) return "a column's name holds a NUL";
            if (columns->count == MAX_COLUMNS) return "a table has more than 256 columns";
            columns->names[columns->count++] = text;
        }
    }
    return NULL;
}

static void put_name(kiln_buffer *sql, kiln_string name) {
    kiln_put(sql, "\"");
    for (size_t i = 0; i < name.length; i++) kiln_put(sql, name.data[i] == '"' ? "\"\"" : "%c", name.data[i]);
    kiln_put(sql, "\"");
}

/* Makes the table, and the statement that inserts a row into it. */
static int create(sqlite3 *database, kiln_string name, const struct columns *columns, sqlite3_stmt **insert) {
    kiln_buffer table = {0}, row = {0};
    kiln_put(&table, "create table ");
    put_name(&table, name);
    kiln_put(&row, "insert into ");
    put_name(&row, name);
    kiln_put(&row, " values ");
    for (int i = 0; i < columns->count; i++) {
        kiln_put(&table, i == 0 ? "(" : ", ");
        put_name(&table, columns->names[i]);
        kiln_put(&row, i == 0 ? "(?" : ", ?");
    }
    kiln_put(&table, ")");
    kiln_put(&row, ")");
    int code = sqlite3_exec(database, table.data, NULL, NULL, NULL);
    if (code == SQLITE_OK) code = sqlite3_prepare_v2(database, row.data, (int)row.length, insert, NULL);
    return code;
}

int bind_value(sqlite3_stmt *statement, int parameter, kiln_json value) {
    switch (value.kind) {
    case KILN_JSON_NONE:
    case KILN_JSON_NULL: return sqlite3_bind_null(statement, parameter);
    case KILN_JSON_BOOL: return sqlite3_bind_int(statement, parameter, kiln_json_bool(value));
    case KILN_JSON_NUMBER:
        for (size_t i = 0; i < value.length; i++) {
            if (strchr(".eE", value.text[i])) return sqlite3_bind_double(statement, parameter, kiln_json_double(value));
        }
        return sqlite3_bind_int64(statement, parameter, kiln_json_int64(value));
    case KILN_JSON_STRING: {
        kiln_string text = kiln_json_string(value);
        int code = sqlite3_bind_text(statement, parameter, text.data, (int)text.length, SQLITE_TRANSIENT);
        if (text.length > 0) free(text.data);
        return code;
    }
    case KILN_JSON_ARRAY:
    case KILN_JSON_OBJECT:
        return sqlite3_bind_text(statement, parameter, value.text, (int)value.length, SQLITE_TRANSIENT);
    }
    return SQLITE_MISUSE;
}

static int insert_row(sqlite3_stmt *insert, const struct columns *columns, kiln_json row) {
    kiln_json name = {0}, value = {0};
    int code = sqlite3_clear_bindings(insert);
    for (int expected = 0; code == SQLITE_OK && kiln_json_next_member(row, &name, &value); expected++) {
        kiln_string text = kiln_json_string(name);
        code = bind_value(insert, 1 + find_column(columns, text, expected), value);
        if (text.length > 0) free(text.data);
    }
    if (code == SQLITE_OK) sqlite3_step(insert);
    return sqlite3_reset(insert);
}

static const char *load_table(sqlite3 *database, kiln_string name, kiln_json rows) {
    static struct columns columns; /* too large for the stack */
    const char *error = has_nul(name) ? "a table's name holds a NUL" : find_columns(rows, &columns);
    if (error != NULL || rows.document->error != NULL) return error;
    if (columns.count == 0) return NULL;
    sqlite3_stmt *insert = NULL;
    int code = create(database, name, &columns, &insert);
    for (kiln_json row = {0}; code == SQLITE_OK && kiln_json_next(rows, &row);) {
        code = insert_row(insert, &columns, row);
    }
    if (code != SQLITE_OK) return sqlite3_errmsg(database);
    sqlite3_finalize(insert);
    return NULL;
}

const char *load_tables(sqlite3 *database, kiln_json tables) {
    const char *error = NULL;
    sqlite3_exec(database, "begin", NULL, NULL, NULL);
    kiln_json name = {0}, rows = {0};
    while (error == NULL && kiln_json_next_member(tables, &name, &rows)) {
        error = load_table(database, kiln_json_string(name), rows);
    }
    sqlite3_exec(database, "commit", NULL, NULL, NULL);
    return error;
}
