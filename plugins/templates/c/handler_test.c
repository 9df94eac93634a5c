/* Runs the handler as an ordinary program: README.md tells how. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "kiln/kiln.h"

/* What stands between the parentheses, as a C string. */
#define JSON(...) #__VA_ARGS__

static kiln_answer answer(const char *payload) {
    kiln_job job = {.name = kiln_text("{{name}}"), .payload = kiln_text(payload), .attempt = 1, .max_attempts = 3};
    return handle(&job);
}

static bool refuses(const char *payload, const char *why) {
    kiln_answer it = answer(payload);
    return it.kind == KILN_PERMANENT && strcmp(it.text.data, why) == 0;
}

static void adds_up_what_the_items_cost(void) {
    kiln_answer it = answer(JSON({"customer": "Ada", "items": [{"name": "tea", "price_cents": 450, "quantity": 2}]}));
    assert(it.kind == KILN_OK);
    assert(strcmp(it.text.data, JSON({"customer": "Ada", "total_cents": 900, "lines": 1})) == 0);
}

static void waits_for_the_stock(void) {
    kiln_answer it = answer(JSON({"customer": "Ada", "items": [
        {"name": "tea", "price_cents": 450, "quantity": 2, "stock": "unknown"}]}));
    assert(it.kind == KILN_RETRY_AFTER && it.after_ms == 30000);
}

static void refuses_what_cannot_be_ordered(void) {
    assert(refuses(JSON({"customer": "Ada", "items": []}), "an order has at least one item"));
    assert(refuses(JSON({"customer": "Ada", "items": [{"name": "tea", "price_cents": 450, "quantity": 0}]}),
                   "the quantity of tea is not positive"));
    assert(refuses(JSON({"customer": "Ada", "items": [{"name": "tea", "price_cents": "450", "quantity": 2}]}),
                   "payload: items[0].price_cents: expected a 64-bit integer, found a string"));
}

int main(void) {
    adds_up_what_the_items_cost();
    waits_for_the_stock();
    refuses_what_cannot_be_ordered();
    puts("ok");
}
