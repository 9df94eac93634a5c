// Takes note of what is enqueued, outside Wasm, where handlers are tested.

let noted = [];

/** What was enqueued since this was asked last. */
export function enqueued() {
    const found = noted;
    noted = [];
    return found;
}

export const jobs = {
    enqueue(name, payload, options) {
        noted.push({ name, payload: JSON.parse(payload), options: options === undefined ? {} : JSON.parse(options) });
        return `follow-up-${noted.length}`;
    },
};
