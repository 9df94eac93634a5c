/* Digests an order of a web shop: what its items cost in all, in how many lines. */
#include <inttypes.h>
#include <string.h>

#include "kiln/kiln.h"

struct item {
    kiln_string name;
    int64_t price_cents;
    int64_t quantity;
    bool stock_unknown;
};

static struct item read_item(kiln_json json) {
    kiln_json stock = kiln_json_get(json, "stock");
    return (struct item){
        .name = kiln_json_string(kiln_json_get(json, "name")),
        .price_cents = kiln_json_int64(kiln_json_get(json, "price_cents")),
        .quantity = kiln_json_int64(kiln_json_get(json, "quantity")),
        .stock_unknown = stock.kind == KILN_JSON_STRING && strcmp(kiln_json_string(stock).data, "unknown") == 0,
    };
}

/* An HTTP request, once {{name}}.toml grants its origin. `answer` is what to return if it fails: retry, or permanent.
static bool fetch_stock(const char *url, kiln_string *stock, kiln_answer *answer) {
    kiln_http_header accept = {"accept", "application/json"};
    kiln_http_request request = {.url = url, .headers = &accept, .header_count = 1, .timeout_ms = 5000};
    kiln_http_response response;
    kiln_http(&request, &response);
    *stock = response.body;
    return kiln_check_status(&response, answer);
}
*/

kiln_answer handle(const kiln_job *job) {
    kiln_document document;
    kiln_json order = kiln_json_open(&document, job->payload);
    kiln_string customer = kiln_json_string(kiln_json_get(order, "customer"));
    kiln_json items = kiln_json_get(order, "items");
    unsigned lines = 0;
    for (kiln_json json = {0}; kiln_json_next(items, &json);) lines++;
    /* All that was read so far fitted, or the same payload is no better the next time. */
    if (document.error) return kiln_permanent("payload: %s", document.error);
    if (lines == 0) return kiln_permanent("an order has at least one item");
    kiln_log(KILN_INFO, "totalling %u items for %s", lines, customer.data);

    int64_t total_cents = 0;
    unsigned done = 0;
    for (kiln_json json = {0}; kiln_json_next(items, &json);) {
        struct item item = read_item(json);
        const char *name = item.name.data;
        int64_t cents;
        if (document.error) return kiln_permanent("payload: %s", document.error);
        if (item.stock_unknown) return kiln_retry_after(30000, "the stock of %s is not known yet", name);
        if (item.quantity <= 0) return kiln_permanent("the quantity of %s is not positive", name);
        if (item.price_cents < 0) return kiln_permanent("the price of %s is negative", name);
        if (__builtin_mul_overflow(item.price_cents, item.quantity, &cents) ||
            __builtin_add_overflow(total_cents, cents, &total_cents)) {
            return kiln_permanent("the total is out of range");
        }
        kiln_progress(++done * 100 / lines, name);
    }

    kiln_buffer result = {0};
    kiln_put(&result, "{\"customer\": ");
    kiln_put_json(&result, customer);
    kiln_put(&result, ", \"total_cents\": %" PRId64 ", \"lines\": %u}", total_cents, lines);
    return kiln_ok(result.data);
}
