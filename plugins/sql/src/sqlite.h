/* SQLite's interface, from where vendor/package.json has it. */
#ifndef SQLITE_H
#define SQLITE_H

#if !__has_include("../vendor/node_modules/better-sqlite3/deps/sqlite3/sqlite3.h")
#error "SQLite's source is missing: run `npm ci --ignore-scripts --prefix vendor`"
#endif
#include "../vendor/node_modules/better-sqlite3/deps/sqlite3/sqlite3.h"

#endif
