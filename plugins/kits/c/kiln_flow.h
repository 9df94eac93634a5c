/*
 * Jobs that a handler enqueues, as far as the operator grants it ([grants.jobs] in the manifest).
 *
 *     kiln_enqueued invoice;
 *     if (!kiln_enqueue("invoice", job->payload, "{\"queue\": \"mails\", \"delay\": \"5m\"}", &invoice)) {
 *         return kiln_flow_failure(&invoice);
 *     }
 *
 * They are pushed with the acknowledgement of the handler's own job: if the attempt fails, nothing is. A job that runs twice
 * enqueues the same jobs, with the same ids. What is not granted ends the attempt: the handler never hears of it.
 *
 * Compiled for anything but WebAssembly, kiln_enqueue() writes what it is asked for to standard error. It is weak: a test
 * may define its own.
 */
#ifndef KILN_FLOW_H
#define KILN_FLOW_H

#include "kiln.h"

typedef enum kiln_flow_error {
    KILN_FLOW_OK,
    KILN_FLOW_INVALID,   /* no name, a payload that is no JSON, an option that does not exist or has a wrong value */
    KILN_FLOW_TOO_LARGE, /* it is larger than all that the attempt may still enqueue */
    KILN_FLOW_TOO_MANY,  /* the attempt has enqueued as many jobs as it may */
    KILN_FLOW_TOO_DEEP,  /* the handler's own job is a follow-up of follow-ups, as far as that may go */
} kiln_flow_error;

typedef struct kiln_enqueued {
    kiln_string id; /* of the job, if there is no error */
    kiln_flow_error error;
    const char *message; /* what went wrong, in one line */
} kiln_enqueued;

/*
 * Enqueues a job with this payload, JSON text. `options` is NULL or the JSON text of an object, with any of the keys "queue"
 * (else that of the handler's own job), "delay" or "at", "max_attempts", "timeout", "id", "metadata", and what a job may ask
 * of Kiln in "metadata.kiln". Returns whether it was done. If not, look at `error`.
 */
bool kiln_enqueue(const char *name, kiln_string payload, const char *options, kiln_enqueued *enqueued);

/* What to answer where a job cannot be enqueued: it cannot the next time either. */
kiln_answer kiln_flow_failure(const kiln_enqueued *enqueued);

#endif
