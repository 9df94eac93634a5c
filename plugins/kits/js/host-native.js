// What stands in for the host outside Wasm, where handlers are tested.

/** What a test may set. */
export const settings = { config: {}, remainingMs: 30_000, isCancelled: false };

export function finish(attempt, done, thrown) {
    try {
        return done(attempt());
    } catch (err) {
        throw thrown(err);
    }
}

export const report = () => {};
export const crash = (err) => err;
export const progress = () => {};
export const remainingMs = () => settings.remainingMs;
export const isCancelled = () => settings.isCancelled;
export const config = (key) => settings.config[key];
export const log = (level, context, message) => console.error(level, context, message);
