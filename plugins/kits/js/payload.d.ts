/** Takes a value and returns it as what it has to be, or throws an error that says which part of it is not. */
export type Parse<T> = (value: unknown, path?: string) => T;

/** What a `Parse` returns: `type Order = Parsed<typeof order>`. */
export type Parsed<P extends Parse<unknown>> = ReturnType<P>;

export const string: Parse<string>;
export const boolean: Parse<boolean>;
export const number: Parse<number>;
/** A whole number that JavaScript holds exactly. */
export const integer: Parse<number>;

/** May be missing, or null. */
export function optional<T>(of: Parse<T>): Parse<T | undefined>;

export function array<T>(of: Parse<T>): Parse<T[]>;

/** An object with these fields. Others that it has are left out. */
export function object<F extends Record<string, Parse<unknown>>>(fields: F): Parse<Fields<F>>;

type Fields<F extends Record<string, Parse<unknown>>> = {
    [K in keyof F as undefined extends Parsed<F[K]> ? never : K]: Parsed<F[K]>;
} & {
    [K in keyof F as undefined extends Parsed<F[K]> ? K : never]?: Parsed<F[K]>;
};
