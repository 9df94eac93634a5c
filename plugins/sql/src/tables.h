/* Tables made from JSON. */
#ifndef TABLES_H
#define TABLES_H

#include "../kiln/kiln.h"
#include "sqlite.h"

/* More columns make no table that a person asks questions of. */
#define MAX_COLUMNS 256

/*
 * Makes a table for each member of `tables`. It is an array of objects: a row for each, and a column for each name that
 * any of them has, in the order in which they appear. Returns NULL, or why it cannot be done. What does not fit in the
 * payload is told of in its document.
 */
const char *load_tables(sqlite3 *database, kiln_json tables);

/*
 * Gives a value to a parameter of a statement: integers as they are, other numbers as doubles, true and false as 1 and
 * 0, arrays and objects as JSON text. Returns SQLite's code.
 */
int bind_value(sqlite3_stmt *statement, int parameter, kiln_json value);

#endif
