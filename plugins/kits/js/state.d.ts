/**
 * Values that outlast an attempt, in the buckets that the plugin's manifest grants (`[grants.state.NAME]`). Values are
 * JSON, in every kit. What fails throws `Retry`. Outside Wasm, in tests, values are kept in memory.
 */

/** The bucket of this name. One that is not granted ends the attempt at the first call. */
export function bucket(name: string): Bucket;

export interface Bucket {
    /** The value of a key, which has 1 to 512 bytes; `undefined`: there is none. */
    get<Value = unknown>(key: string): Value | undefined;
    /** The same with its version, which changes with it. */
    getVersioned<Value = unknown>(key: string): { value: Value; version: number } | undefined;
    /**
     * Makes this the value of a key, for so many milliseconds; without them, or with 0, for as long as the bucket keeps
     * values, and in no case longer. What JSON cannot hold, and a time that is less than 0 or none, is `Permanent`.
     */
    set(key: string, value: unknown, options?: { ttlMs?: number }): void;
    /** The same for a key that has none. `false`: it has one. */
    setIfAbsent(key: string, value: unknown, options?: { ttlMs?: number }): boolean;
    /** Makes this the value of a key whose value still has that version, and returns the new one. */
    swap(key: string, version: number, value: unknown): number | undefined;
    /** Adds to a whole number, where there is none to 0, and returns what it is then: exact up to 2 to the power of 53. */
    add(key: string, by: number): number;
    /** Takes a value away. */
    delete(key: string): void;
    /** Up to a thousand keys that begin with `prefix`, in order, after one of them. */
    keys(prefix?: string, options?: { after?: string }): string[];
    /** What is done together with the job's acknowledgement: once, though the job may run twice. */
    setOnCompletion(key: string, value: unknown): void;
    addOnCompletion(key: string, by: number): void;
    deleteOnCompletion(key: string): void;
}

/**
 * Does something once for a key, such as a job's id, and returns what it came to, now or when it was done: what JSON makes
 * of it, and `null` for nothing. While another attempt is at it, the job is tried again later; where `work` fails, or what it
 * returns is no JSON, it may be done again.
 *
 * It cannot promise more than the world around it: where the worker dies after `work` and before its result is kept, it
 * is done again once the attempt's time is over. Hand the key on to whatever `work` calls, if that knows such keys.
 */
export function once<Value>(bucket: string, key: string, work: () => Value | Promise<Value>): Promise<Value>;
