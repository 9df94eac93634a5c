// Runs the handler as an ordinary program. In this folder:
//
//     npm ci --ignore-scripts --prefix vendor
//     cc -g -fsanitize=address,undefined *.c src/*.c kiln/*.c -lm -o /tmp/sql_test && /tmp/sql_test
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "kiln/kiln.h"

static bool cancelled;
static uint64_t remaining_ms = 10000;

bool kiln_is_cancelled(void) {
    return cancelled;
}

uint64_t kiln_remaining_ms(void) {
    return remaining_ms;
}

/* What stands between the parentheses, as a C string. */
#define JSON(...) #__VA_ARGS__

static const char *const orders = JSON({"orders": [
    {"id": 9007199254740993, "customer": "Ada", "total": 9.5},
    {"id": -9223372036854775808, "total": 3, "tags": [1, "a"]},
    {"id": null, "customer": "😀", "ok": true}
]});

static kiln_answer answer(const char *tables, const char *query, const char *params) {
    kiln_buffer payload = {0};
    kiln_put(&payload, "{\"tables\": %s, \"params\": %s, \"query\": ", tables, params);
    kiln_put_json(&payload, kiln_text(query));
    kiln_put(&payload, "}");
    kiln_job job = {.payload = {payload.data, payload.length}, .attempt = 1, .max_attempts = 3};
    return handle(&job);
}

static void expect(const char *query, const char *params, kiln_answer_kind kind, const char *text) {
    kiln_answer it = answer(orders, query, params);
    if (it.kind == kind && strcmp(it.text.data, text) == 0) return;
    fprintf(stderr, "%s: %d %s\n", query, it.kind, it.text.data);
    assert(!"as expected");
}

static void values_come_back_as_they_were(void) {
    expect("select * from orders", "[]", KILN_OK,
           JSON({"columns": ["id", "customer", "total", "tags", "ok"],
                 "rows": [[9007199254740993, "Ada", 9.5, null, null],
                 [-9223372036854775808, null, 3, "[1, \"a\"]", null],
                 [null, "😀", null, null, 1]]}));
    expect("select ?, ?2, ?, 0.1 + 0.2, 3.0", "[9223372036854775807, \"it's\", 1e2]", KILN_OK,
           JSON({"columns": ["?", "?2", "?", "0.1 + 0.2", "3.0"],
                 "rows": [[9223372036854775807, "it's", 100.0, 0.30000000000000004, 3.0]]}));
    expect("select cast(x'61ff' as text) as a", "[]", KILN_OK,
           JSON({"columns": ["a"], "rows": [["a�"]]}));
    expect("select x'ff' as a", "[]", KILN_PERMANENT,
           "query: column a holds what JSON cannot, a blob: ask for its hex()");
    expect("select 1e999 as a", "[]", KILN_PERMANENT, "query: column a holds what JSON cannot, an infinite number");
}

static void a_query_only_reads(void) {
    const char *writes[] = {
        "delete from orders", "insert into orders values (1)", "update orders set id = 1", "drop table orders",
        "create temp table a (b)", "create view a as select 1", "pragma journal_mode = off", "attach 'a' as b",
        "vacuum into 'a'", "begin", "reindex", "analyze", "select * from pragma_table_info('orders')",
        "with a as (select 1) delete from orders",
    };
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
        expect(writes[i], "[]", KILN_PERMANENT, "query: only reading is allowed");
    }
}

static void a_query_is_one_statement_that_fits(void) {
    expect("select 1; -- done", "[]", KILN_OK, JSON({"columns": ["1"], "rows": [[1]]}));
    expect("select 1; select 2", "[]", KILN_PERMANENT, "query: more than one statement");
    expect(" -- nothing", "[]", KILN_PERMANENT, "query: there is none");
    expect("selec 1", "[]", KILN_PERMANENT, "query: near \"selec\": syntax error");
    expect("select nope from orders", "[]", KILN_PERMANENT, "query: no such column: nope");
    expect("select ?", "[1, 2]", KILN_PERMANENT, "payload: params: the query takes 1, and there are 2");
    expect("select ?", "[18446744073709551616]", KILN_PERMANENT,
           "payload: params[0]: expected a 64-bit integer, found 18446744073709551616");
}

static void what_a_query_takes_is_bounded(void) {
    const char *endless = "with recursive c(n) as (select 1 union all select n + 1 from c) select n from c";
    expect(endless, "[]", KILN_PERMANENT, "query: more than 10000 rows; give it a limit");
    expect("with recursive c(n) as (select 1 union all select n + 1 from c) select hex(zeroblob(100000)) from c", "[]",
           KILN_PERMANENT, "query: the result is larger than 3 MiB");
    expect("select zeroblob(1000000000)", "[]", KILN_PERMANENT, "query: string or blob too big");
    remaining_ms = 10;
    expect(endless, "[]", KILN_PERMANENT, "query: takes too long");
    cancelled = true;
    expect(endless, "[]", KILN_RETRY, "the host is shutting down");
    cancelled = false;
    remaining_ms = 10000;
}

static void tables_that_make_no_sense_fail_for_good(void) {
    struct {
        const char *tables;
        const char *text;
    } cases[] = {
        {"[]", "payload: tables: expected an object, found an array"},
        {JSON({"a": 5}), "payload: tables.a: expected an array, found 5"},
        {JSON({"a": [{}, 5]}), "payload: tables.a[1]: expected an object, found 5"},
        {JSON({"a": [{"x": 1, "X": 2}]}), "payload: tables: duplicate column name: X"},
        {"{\"a\": [{\"x\\u0000\": 1}]}", "payload: tables: a column's name holds a NUL"},
        {JSON({"a": [{"x": 18446744073709551616}]}),
         "payload: tables.a[0].x: expected a 64-bit integer, found 18446744073709551616"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kiln_answer it = answer(cases[i].tables, "select 1", "[]");
        assert(it.kind == KILN_PERMANENT && strcmp(it.text.data, cases[i].text) == 0);
    }
    kiln_answer it = answer(JSON({"a\"b": [{"": 1, "c\"d": 2, "select": 3}]}), "select * from \"a\"\"b\"", "[]");
    assert(strcmp(it.text.data, JSON({"columns": ["", "c\"d", "select"], "rows": [[1, 2, 3]]})) == 0);
}

int main(void) {
    values_come_back_as_they_were();
    a_query_only_reads();
    a_query_is_one_statement_that_fits();
    what_a_query_takes_is_bounded();
    tables_that_make_no_sense_fail_for_good();
    puts("ok");
}
