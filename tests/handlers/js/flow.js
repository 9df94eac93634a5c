import { enqueue } from "./kiln/flow.js";

/** What the act `enqueue` of all languages does. */
export function enqueueAll({ text, n }) {
    const ids = [
        enqueue("after", { text, n }),
        enqueue("after", [n], {
            queue: "other",
            delay: "90s",
            id: "mine",
            max_attempts: 2,
            metadata: { who: text },
        }),
    ];
    try {
        enqueue("after", null, { queue: "a b" });
        return { ids };
    } catch (err) {
        return { ids, refused: err.kind === "invalid" && err.name === "Permanent" };
    }
}
