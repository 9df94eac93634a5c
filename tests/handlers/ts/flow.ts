import { enqueue } from "./kiln/flow.js";
import { Permanent } from "./kiln/index.js";

/** What the act `enqueue` of all languages does. */
export function enqueueAll({ text, n }: { text: string; n: number }) {
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
        return { ids, refused: err instanceof Permanent && "kind" in err && err.kind === "invalid" };
    }
}
