/* Jobs that a handler enqueues. */
#include "kiln_flow.h"

#include "kiln_host.h"

#include <stdio.h>

kiln_answer kiln_flow_failure(const kiln_enqueued *enqueued) {
    return kiln_permanent("enqueue: %s", enqueued->message);
}

#ifdef __wasm__

bool kiln_enqueue(const char *name, kiln_string payload, const char *options, kiln_enqueued *enqueued) {
    job_handler_string_t lent_name = lend(kiln_text(name)), lent_payload = lend(payload), lent_options = {0};
    if (options != NULL) lent_options = lend(kiln_text(options));
    job_handler_string_t id;
    kiln_flow_jobs_error_t error;
    if (!kiln_flow_jobs_enqueue(&lent_name, &lent_payload, options != NULL ? &lent_options : NULL, &id, &error)) {
        /* The kinds are in the order of the contract's, after KILN_FLOW_OK. */
        kiln_string message = take(error.message.ptr, error.message.len);
        *enqueued = (kiln_enqueued){.error = (kiln_flow_error)(error.kind + 1), .message = message.data};
        return false;
    }
    *enqueued = (kiln_enqueued){.id = take(id.ptr, id.len), .error = KILN_FLOW_OK, .message = ""};
    return true;
}

#else

WEAK bool kiln_enqueue(const char *name, kiln_string payload, const char *options, kiln_enqueued *enqueued) {
    fprintf(stderr, "enqueue: %s %.*s %s\n", name, (int)payload.length, payload.data, options != NULL ? options : "");
    *enqueued = (kiln_enqueued){.id = kiln_text("follow-up"), .error = KILN_FLOW_OK, .message = ""};
    return true;
}

#endif
